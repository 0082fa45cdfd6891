#include "editing/mask.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>

#include "editing/planes.h"
#include "formats/resample.h"

namespace inkling {

namespace {

using namespace planes;

constexpr int kWorkSide = 512;                 // masks are found on at most this many pixels a side
constexpr float kSameColor = 9;                // Lab distance to a border colour, for the flood
constexpr float kStep = 4.5f;                  // and between neighbours
constexpr double kLeast = 0.03, kMost = 0.98;  // of the picture, for a background
constexpr float kStandsOut = 14;               // Lab distance from the surroundings, for lettering
constexpr float kBorder = 0.02f;               // soft border of a rectangle, of the short side

Image working_copy(const Image& rgb) {
  const int longer = std::max(rgb.width, rgb.height);
  if (longer <= kWorkSide) return rgb;
  return resample(rgb, std::max(1, rgb.width * kWorkSide / longer), std::max(1, rgb.height * kWorkSide / longer),
                  ResampleFilter::bicubic);
}

float distance(const Lab& a, const Lab& b) {
  const float l = 0.7f * (a.l - b.l);  // shadows on a backdrop change lightness most
  return std::sqrt(l * l + (a.a - b.a) * (a.a - b.a) + (a.b - b.b) * (a.b - b.b));
}

std::vector<Lab> lab_of(const Image& rgb) {
  std::vector<Lab> lab(rgb.pixels.size() / 3);
  for (size_t i = 0; i < lab.size(); ++i) lab[i] = to_lab(&rgb.pixels[i * 3]);
  return lab;
}

// To the picture's size, borders along the picture's edges.
Image finish(const Plane& found, const Image& work, const Image& rgb) {
  Plane grey(work.width, work.height);
  for (size_t i = 0; i < grey.values.size(); ++i)
    grey.values[i] =
        (0.299f * work.pixels[i * 3] + 0.587f * work.pixels[i * 3 + 1] + 0.114f * work.pixels[i * 3 + 2]) / 255;
  const Plane soft = guided_filter(grey, found, std::max(2, std::min(work.width, work.height) / 100), 1e-3f);
  Image mask = Image::blank(work.width, work.height, 1);
  for (size_t i = 0; i < mask.pixels.size(); ++i)
    mask.pixels[i] = to_byte(std::clamp((soft.values[i] - 0.1f) / 0.8f, 0.f, 1.f));
  if (work.width == rgb.width && work.height == rgb.height) return mask;
  return resample(mask, rgb.width, rgb.height, ResampleFilter::bicubic);
}

// The colours that the border is made of: at most four that cover most of it, else none.
std::vector<Lab> border_colors(const std::vector<Lab>& lab, int width, int height) {
  struct Cluster {
    Lab sum{0, 0, 0};
    int n = 0;
    Lab mean() const { return {sum.l / n, sum.a / n, sum.b / n}; }
  };
  std::vector<Cluster> clusters;
  int total = 0;
  const auto add = [&](int x, int y) {
    const Lab& c = lab[static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)];
    ++total;
    Cluster* nearest = nullptr;
    for (Cluster& k : clusters)
      if (distance(k.mean(), c) < kSameColor && (nearest == nullptr || k.n > nearest->n)) nearest = &k;
    if (nearest == nullptr) {
      if (clusters.size() >= 64) return;
      nearest = &clusters.emplace_back();
    }
    nearest->sum = {nearest->sum.l + c.l, nearest->sum.a + c.a, nearest->sum.b + c.b};
    ++nearest->n;
  };
  for (int x = 0; x < width; ++x) add(x, 0), add(x, height - 1);
  for (int y = 1; y + 1 < height; ++y) add(0, y), add(width - 1, y);
  std::ranges::sort(clusters, std::greater(), &Cluster::n);
  std::vector<Lab> colors;
  int covered = 0;
  for (const Cluster& k : clusters) {
    if (colors.size() == 4 || k.n < total / 25) break;
    colors.push_back(k.mean());
    covered += k.n;
  }
  if (covered < total * 6 / 10) colors.clear();
  return colors;
}

std::optional<Plane> find_background(const Image& work) {
  const int w = work.width, h = work.height;
  const std::vector<Lab> lab = lab_of(work);
  const std::vector<Lab> colors = border_colors(lab, w, h);
  if (colors.empty()) return std::nullopt;
  Plane found(w, h);
  std::deque<std::pair<int, int>> open;
  const auto at = [&](int x, int y) -> const Lab& {
    return lab[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)];
  };
  const auto like_border = [&](const Lab& c, float within) {
    return std::ranges::any_of(colors, [&](const Lab& k) { return distance(k, c) < within; });
  };
  const auto enter = [&](int x, int y) {
    found.at(x, y) = 1;
    open.emplace_back(x, y);
  };
  for (int x = 0; x < w; ++x)
    for (const int y : {0, h - 1})
      if (found.at(x, y) == 0 && like_border(at(x, y), kSameColor)) enter(x, y);
  for (int y = 0; y < h; ++y)
    for (const int x : {0, w - 1})
      if (found.at(x, y) == 0 && like_border(at(x, y), kSameColor)) enter(x, y);
  while (!open.empty()) {
    const auto [x, y] = open.front();
    open.pop_front();
    for (const auto& [dx, dy] : {std::pair{1, 0}, {-1, 0}, {0, 1}, {0, -1}}) {
      const int nx = x + dx, ny = y + dy;
      if (nx < 0 || ny < 0 || nx >= w || ny >= h || found.at(nx, ny) != 0) continue;
      // Gradients are followed by small steps, but not far away from what the border shows.
      const Lab& c = at(nx, ny);
      if (like_border(c, kSameColor) || (distance(at(x, y), c) < kStep && like_border(c, 3 * kSameColor)))
        enter(nx, ny);
    }
  }
  double share = 0;
  for (const float v : found.values) share += v;
  share /= static_cast<double>(found.values.size());
  if (share < kLeast || share > kMost) return std::nullopt;
  return found;
}

Plane rectangle(const Region& region, int width, int height) {
  const float soft = std::max(1.f, kBorder * static_cast<float>(std::min(width, height)));
  Plane p(width, height);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      // A side on the picture's own edge is not soft.
      const float left = region.x0 <= 0 ? soft : static_cast<float>(x) + 0.5f - region.x0 * static_cast<float>(width);
      const float right = region.x1 >= 1 ? soft : region.x1 * static_cast<float>(width) - static_cast<float>(x) - 0.5f;
      const float top = region.y0 <= 0 ? soft : static_cast<float>(y) + 0.5f - region.y0 * static_cast<float>(height);
      const float bottom =
          region.y1 >= 1 ? soft : region.y1 * static_cast<float>(height) - static_cast<float>(y) - 0.5f;
      p.at(x, y) = std::clamp(0.5f + std::min({left, right, top, bottom}) / soft / 2, 0.f, 1.f);
    }
  return p;
}

std::optional<Plane> find_text(const Image& work, const Region& within) {
  const int w = work.width, h = work.height;
  const int x0 = std::clamp(static_cast<int>(within.x0 * static_cast<float>(w)), 0, w),
            x1 = std::clamp(static_cast<int>(std::ceil(within.x1 * static_cast<float>(w))), 0, w);
  const int y0 = std::clamp(static_cast<int>(within.y0 * static_cast<float>(h)), 0, h),
            y1 = std::clamp(static_cast<int>(std::ceil(within.y1 * static_cast<float>(h))), 0, h);
  if (x1 - x0 < 8 || y1 - y0 < 8) return std::nullopt;
  const std::vector<Lab> lab = lab_of(work);
  // What surrounds a place: the mean over a square wider than any letter.
  std::array<Plane, 3> around;
  for (int c = 0; c < 3; ++c) {
    Plane p(w, h);
    for (size_t i = 0; i < lab.size(); ++i) p.values[i] = c == 0 ? lab[i].l : c == 1 ? lab[i].a : lab[i].b;
    around[static_cast<size_t>(c)] = box_mean(p, std::max(6, std::min(w, h) / 8));
  }
  Plane found(w, h);
  double hits = 0;
  for (int y = y0; y < y1; ++y)
    for (int x = x0; x < x1; ++x) {
      const size_t i = static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x);
      if (distance(lab[i], {around[0].values[i], around[1].values[i], around[2].values[i]}) < kStandsOut) continue;
      found.values[i] = 1;
      ++hits;
    }
  const double area = static_cast<double>(x1 - x0) * (y1 - y0);
  if (hits < area * 0.002 || hits > area / 2) return std::nullopt;
  // Letters grow together, with a margin for their blur.
  const Plane near = box_mean(found, std::max(2, std::min(w, h) / 64));
  for (size_t i = 0; i < found.values.size(); ++i) found.values[i] = near.values[i] > 0.04f ? 1.f : 0.f;
  return found;
}

bool covers_everything(const Region& r) { return r.x0 <= 0 && r.y0 <= 0 && r.x1 >= 1 && r.y1 >= 1; }

}  // namespace

std::optional<Image> background_mask(const Image& rgb) {
  const Image work = working_copy(rgb);
  const auto found = find_background(work);
  if (!found) return std::nullopt;
  return finish(*found, work, rgb);
}

std::optional<Image> text_mask(const Image& rgb, const Region& within) {
  const Image work = working_copy(rgb);
  const auto found = find_text(work, within);
  if (!found) return std::nullopt;
  return finish(*found, work, rgb);
}

std::optional<Image> make_mask(const Instruction& instruction, const Image& rgb) {
  if (instruction.operations.empty()) return std::nullopt;
  const bool keeps_background = std::ranges::find(instruction.kept, "background") != instruction.kept.end();
  const Image work = working_copy(rgb);
  const auto background = find_background(work);
  Plane all(work.width, work.height);
  const auto unite = [&](const Plane& p) {
    for (size_t i = 0; i < all.values.size(); ++i) all.values[i] = std::max(all.values[i], p.values[i]);
  };
  for (const Operation& op : instruction.operations) {
    if (op.kind == EditKind::background || op.target == "background") {
      if (!background) return std::nullopt;
      unite(*background);
      continue;
    }
    if (op.region && !covers_everything(*op.region)) {
      unite(rectangle(*op.region, work.width, work.height));
      continue;
    }
    if (op.kind == EditKind::replace_text ||
        (op.kind == EditKind::remove && (op.target == "text" || op.target == "watermark"))) {
      const auto text = find_text(work, {});
      if (!text) return std::nullopt;
      unite(*text);
      continue;
    }
    if (!keeps_background || !background) return std::nullopt;  // somewhere, and nobody says where
    Plane subject = *background;
    for (float& v : subject.values) v = 1 - v;
    unite(subject);
  }
  if (keeps_background && background)
    for (size_t i = 0; i < all.values.size(); ++i) all.values[i] = std::min(all.values[i], 1 - background->values[i]);
  return finish(all, work, rgb);
}

}  // namespace inkling
