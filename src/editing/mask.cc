#include "editing/mask.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "editing/guided_filter.h"
#include "editing/lab.h"
#include "editing/lexicon.h"
#include "formats/resample.h"

namespace inkling {

namespace {

constexpr int kWorkSide = 512;  // larger pictures are searched at this size; the edge is refined at full size

Image work_size(const Image& rgb) {
  const int side = std::max(rgb.width, rgb.height);
  if (side <= kWorkSide) return rgb;
  const auto scaled = [&](int v) {
    return std::max(1, static_cast<int>(std::lround(static_cast<double>(v) * kWorkSide / side)));
  };
  return resample(rgb, scaled(rgb.width), scaled(rgb.height), ResampleFilter::bicubic);
}

std::vector<Lab> to_lab(const Image& rgb) {
  std::vector<Lab> lab(static_cast<size_t>(rgb.width) * static_cast<size_t>(rgb.height));
  for (size_t i = 0; i < lab.size(); ++i) lab[i] = lab_of(&rgb.pixels[i * 3]);
  return lab;
}

// Colours that the border is made of, each with at least 3 % of its pixels.
std::vector<Lab> border_colors(const std::vector<Lab>& lab, int w, int h) {
  constexpr float kNear = 10;  // of CIE 1976: one colour under soft light
  constexpr size_t kMost = 12;
  struct Cluster {
    Lab sum;
    int count = 0;
    Lab mean() const {
      return {sum.l / static_cast<float>(count), sum.a / static_cast<float>(count), sum.b / static_cast<float>(count)};
    }
  };
  std::vector<Cluster> clusters;
  int total = 0;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; x += y == 0 || y == h - 1 ? 1 : std::max(1, w - 1)) {
      const Lab& c = lab[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)];
      ++total;
      Cluster* best = nullptr;
      float nearest = kNear;
      for (Cluster& cluster : clusters)
        if (const float d = distance(cluster.mean(), c); d < nearest) nearest = d, best = &cluster;
      if (best == nullptr) {
        if (clusters.size() >= 64) continue;
        best = &clusters.emplace_back();
      }
      best->sum = {best->sum.l + c.l, best->sum.a + c.a, best->sum.b + c.b};
      ++best->count;
    }
  std::ranges::sort(clusters, [](const Cluster& a, const Cluster& b) { return a.count > b.count; });
  std::vector<Lab> colors;
  for (const Cluster& cluster : clusters)
    if (cluster.count * 100 >= total * 3 && colors.size() < kMost) colors.push_back(cluster.mean());
  return colors;
}

// Reachable from the border over steps that are small, and near the border's colours.
std::vector<uint8_t> flood(const std::vector<Lab>& lab, int w, int h) {
  constexpr float kStep = 7;    // between neighbours: soft shading passes, an outline does not
  constexpr float kNear = 18;   // from the nearest border colour
  constexpr float kDrift = 34;  // at most, where every step so far was very small (a gradient)
  constexpr float kSmooth = 2.5F;
  std::vector<uint8_t> inside(lab.size(), 0);
  const std::vector<Lab> colors = border_colors(lab, w, h);
  if (colors.empty()) return inside;
  const auto from_border = [&](const Lab& c) {
    float nearest = 1e9F;
    for (const Lab& color : colors) nearest = std::min(nearest, distance(color, c));
    return nearest;
  };
  std::vector<int> stack;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; x += y == 0 || y == h - 1 ? 1 : std::max(1, w - 1)) {
      const size_t i = static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x);
      if (inside[i] == 0 && from_border(lab[i]) < kNear) inside[i] = 1, stack.push_back(static_cast<int>(i));
    }
  while (!stack.empty()) {
    const int i = stack.back();
    stack.pop_back();
    const int x = i % w, y = i / w;
    const int next[4][2] = {{x - 1, y}, {x + 1, y}, {x, y - 1}, {x, y + 1}};
    for (const auto& [nx, ny] : next) {
      if (nx < 0 || ny < 0 || nx >= w || ny >= h) continue;
      const size_t n = static_cast<size_t>(ny) * static_cast<size_t>(w) + static_cast<size_t>(nx);
      if (inside[n] != 0) continue;
      const float step = distance(lab[static_cast<size_t>(i)], lab[n]);
      if (step > kStep) continue;
      const float away = from_border(lab[n]);
      if (away > (step < kSmooth ? kDrift : kNear)) continue;
      inside[n] = 1;
      stack.push_back(static_cast<int>(n));
    }
  }
  return inside;
}

// Calls visit with the pixels of each connected area of `value`.
template <typename Visit>
void visit_areas(const std::vector<uint8_t>& mask, int w, int h, uint8_t value, Visit visit) {
  std::vector<uint8_t> seen(mask.size(), 0);
  std::vector<int> area;
  for (size_t start = 0; start < mask.size(); ++start) {
    if (seen[start] != 0 || mask[start] != value) continue;
    area.assign(1, static_cast<int>(start));
    seen[start] = 1;
    for (size_t k = 0; k < area.size(); ++k) {
      const int x = area[k] % w, y = area[k] / w;
      const int next[4][2] = {{x - 1, y}, {x + 1, y}, {x, y - 1}, {x, y + 1}};
      for (const auto& [nx, ny] : next) {
        if (nx < 0 || ny < 0 || nx >= w || ny >= h) continue;
        const size_t n = static_cast<size_t>(ny) * static_cast<size_t>(w) + static_cast<size_t>(nx);
        if (seen[n] != 0 || mask[n] != value) continue;
        seen[n] = 1;
        area.push_back(static_cast<int>(n));
      }
    }
    visit(area);
  }
}

// Areas of `value` under min_area pixels are given to the other side.
void drop_small(std::vector<uint8_t>& mask, int w, int h, uint8_t value, size_t min_area) {
  std::vector<uint8_t> result = mask;
  visit_areas(mask, w, h, value, [&](const std::vector<int>& area) {
    if (area.size() < min_area)
      for (const int i : area) result[static_cast<size_t>(i)] = static_cast<uint8_t>(1 - value);
  });
  mask = std::move(result);
}

template <typename Keep>
void keep_areas(std::vector<uint8_t>& mask, int w, int h, Keep keep) {
  std::vector<uint8_t> result = mask;
  visit_areas(mask, w, h, 1, [&](const std::vector<int>& area) {
    if (!keep(area))
      for (const int i : area) result[static_cast<size_t>(i)] = 0;
  });
  mask = std::move(result);
}

// Largest (grow > 0) or smallest value within |grow| pixels, by rows then columns.
void grow_mask(std::vector<uint8_t>& mask, int w, int h, int grow) {
  const int r = std::abs(grow);
  std::vector<uint8_t> across(mask.size());
  const auto pick = [&](uint8_t a, uint8_t b) { return grow > 0 ? std::max(a, b) : std::min(a, b); };
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      uint8_t v = mask[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)];
      for (int k = std::max(0, x - r); k <= std::min(w - 1, x + r); ++k)
        v = pick(v, mask[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(k)]);
      across[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)] = v;
    }
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      uint8_t v = across[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)];
      for (int k = std::max(0, y - r); k <= std::min(h - 1, y + r); ++k)
        v = pick(v, across[static_cast<size_t>(k) * static_cast<size_t>(w) + static_cast<size_t>(x)]);
      mask[static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x)] = v;
    }
}

Image to_image(const std::vector<uint8_t>& mask, int w, int h) {
  Image image = Image::blank(w, h, 1);
  for (size_t i = 0; i < mask.size(); ++i) image.pixels[i] = mask[i] != 0 ? 255 : 0;
  return image;
}

// Snaps a hard mask to the edges of the picture, softly.
Image refine(const Image& hard, const Image& rgb) {
  const int w = rgb.width, h = rgb.height;
  const Image full = hard.width == w && hard.height == h ? hard : resample(hard, w, h, ResampleFilter::bicubic);
  Plane guide(w, h), input(w, h);
  for (size_t i = 0; i < guide.values.size(); ++i) {
    const uint8_t* p = &rgb.pixels[i * 3];
    guide.values[i] = (0.299F * p[0] + 0.587F * p[1] + 0.114F * p[2]) / 255;
    input.values[i] = static_cast<float>(full.pixels[i]) / 255;
  }
  const int radius = std::max(2, std::min(w, h) / 128);
  const Plane soft = guided_filter(guide, input, radius, 1e-3F);
  Image result = Image::blank(w, h, 1);
  for (size_t i = 0; i < result.pixels.size(); ++i) {
    // 0 and 1 stay reachable: the filter leaves a haze of a few per cent.
    const float v = std::clamp((soft.values[i] - 0.1F) / 0.8F, 0.0F, 1.0F);
    result.pixels[i] = static_cast<uint8_t>(v * 255 + 0.5F);
  }
  return result;
}

// The rectangle with a border that falls off over 4 % of the short side, outwards; none where it touches the border
// of the picture.
void add_rectangle(Image& mask, const Region& r) {
  const float soft = std::max(2.0F, 0.04F * static_cast<float>(std::min(mask.width, mask.height)));
  const float x0 = r.x0 * static_cast<float>(mask.width), x1 = r.x1 * static_cast<float>(mask.width);
  const float y0 = r.y0 * static_cast<float>(mask.height), y1 = r.y1 * static_cast<float>(mask.height);
  for (int y = 0; y < mask.height; ++y)
    for (int x = 0; x < mask.width; ++x) {
      const float cx = static_cast<float>(x) + 0.5F, cy = static_cast<float>(y) + 0.5F;
      const float away = std::hypot(std::max({x0 - cx, cx - x1, 0.0F}), std::max({y0 - cy, cy - y1, 0.0F}));
      const auto value = static_cast<uint8_t>(255 * std::clamp(1 - away / soft, 0.0F, 1.0F) + 0.5F);
      *mask.at(x, y) = std::max(*mask.at(x, y), value);
    }
}

void add_mask(Image& mask, const Image& more) {
  for (size_t i = 0; i < mask.pixels.size(); ++i) mask.pixels[i] = std::max(mask.pixels[i], more.pixels[i]);
}

Image inverted(Image mask) {
  for (uint8_t& v : mask.pixels) v = static_cast<uint8_t>(255 - v);
  return mask;
}

// Grows by r pixels with a soft end: a maximum, then a mean.
Image widened(const Image& mask, int r) {
  std::vector<uint8_t> values = mask.pixels;
  grow_mask(values, mask.width, mask.height, r);
  Plane plane(mask.width, mask.height);
  for (size_t i = 0; i < values.size(); ++i) plane.values[i] = static_cast<float>(values[i]);
  box_mean(plane, std::max(1, r / 2), plane);
  Image result = Image::blank(mask.width, mask.height, 1);
  for (size_t i = 0; i < values.size(); ++i) result.pixels[i] = static_cast<uint8_t>(plane.values[i] + 0.5F);
  return result;
}

NounClass class_of(const std::string& target) {
  // "red hat", `label "NEW"`: the noun is the last known word
  const size_t quote = target.find(" \"");
  const std::string name = target.substr(0, quote);
  if (const auto noun = find_noun(name)) return noun->kind;
  for (size_t at = name.find(' '); at != std::string::npos; at = name.find(' ', at + 1))
    if (const auto noun = find_noun(name.substr(at + 1))) return noun->kind;
  return name.starts_with('"') ? NounClass::lettering : NounClass::thing;
}

bool is_rectangle(const Operation& op) {
  return op.region && op.region->name != "whole" && op.region->name != "text" && op.region->name != "background";
}

// Adds what one operation may change; false: cannot be told.
bool add_operation(Image& mask, const Operation& op, const Image& rgb) {
  const int reach = std::max(2, std::min(rgb.width, rgb.height) / 64);
  const NounClass kind = class_of(op.target);
  const bool about_background =
      op.kind == EditKind::background || (op.kind == EditKind::adjust && kind == NounClass::background);
  if (about_background || (op.region && op.region->name == "background" && op.kind == EditKind::remove)) {
    const auto found = background_mask(rgb);
    if (!found) return false;
    add_mask(mask, *found);
    return true;
  }
  if (op.kind == EditKind::style || op.kind == EditKind::crop || op.kind == EditKind::other) return false;
  if (op.kind == EditKind::adjust && !is_rectangle(op)) return false;
  const bool lettering = op.kind == EditKind::replace_text || kind == NounClass::lettering ||
                         kind == NounClass::carrier || kind == NounClass::overlay;
  if (lettering && op.kind != EditKind::add) {
    const Region within = is_rectangle(op) ? *op.region : Region{"whole", 0, 0, 1, 1};
    // A watermark may be too faint to stand out; then the named part, else the whole picture.
    if (const auto found = text_mask(rgb, within)) {
      add_mask(mask, widened(*found, reach));
      return true;
    }
  }
  if (is_rectangle(op)) {
    add_rectangle(mask, *op.region);
    return true;
  }
  // The subject itself; what is worn may reach over its outline, so that only recolouring is told.
  if (kind == NounClass::subject && op.kind == EditKind::recolor) {
    const auto found = background_mask(rgb);
    if (!found) return false;
    add_mask(mask, widened(inverted(*found), reach));
    return true;
  }
  return false;
}

}  // namespace

std::optional<Image> background_mask(const Image& rgb) {
  if (rgb.channels != 3 || rgb.width < 8 || rgb.height < 8) return std::nullopt;
  const Image small = work_size(rgb);
  const int w = small.width, h = small.height;
  const std::vector<Lab> lab = to_lab(small);
  std::vector<uint8_t> inside = flood(lab, w, h);
  const auto area = static_cast<size_t>(w) * static_cast<size_t>(h);
  drop_small(inside, w, h, 1, area / 2000);
  drop_small(inside, w, h, 0, area / 400);
  const auto count = static_cast<size_t>(std::ranges::count(inside, 1));
  if (count * 100 < area * 3 || count * 100 > area * 98) return std::nullopt;
  return refine(to_image(inside, w, h), rgb);
}

std::optional<Image> text_mask(const Image& rgb, const Region& within) {
  if (rgb.channels != 3 || rgb.width < 16 || rgb.height < 16) return std::nullopt;
  const Image small = work_size(rgb);
  const int w = small.width, h = small.height, side = std::min(w, h);
  const std::vector<Lab> lab = to_lab(small);
  Plane edges(w, h);  // how much colour changes from pixel to pixel
  for (int y = 0; y + 1 < h; ++y)
    for (int x = 0; x + 1 < w; ++x) {
      const size_t i = static_cast<size_t>(y) * static_cast<size_t>(w) + static_cast<size_t>(x);
      edges.values[i] = distance(lab[i], lab[i + 1]) + distance(lab[i], lab[i + static_cast<size_t>(w)]);
    }
  box_mean(edges, std::max(2, side / 48), edges);
  const int x0 = static_cast<int>(within.x0 * static_cast<float>(w)),
            x1 = std::min(w, static_cast<int>(within.x1 * static_cast<float>(w)));
  const int y0 = static_cast<int>(within.y0 * static_cast<float>(h)),
            y1 = std::min(h, static_cast<int>(within.y1 * static_cast<float>(h)));
  constexpr float kDense = 9;  // mean of edges (CIE 1976 a pixel): lettering has 15 and more, soft drawings 1..6
  std::vector<uint8_t> found(lab.size(), 0);
  for (size_t i = 0; i < lab.size(); ++i) found[i] = edges.values[i] > kDense;
  // Letters to words to stickers.
  const int join = std::max(1, side / 64);
  grow_mask(found, w, h, join);
  grow_mask(found, w, h, -join);
  const auto area = static_cast<size_t>(std::max(1, (x1 - x0) * (y1 - y0)));
  drop_small(found, w, h, 1, area / 150);
  drop_small(found, w, h, 0, area / 4);
  // What stands mostly outside of the rectangle is something else that reaches into it.
  keep_areas(found, w, h, [&](const std::vector<int>& pixels) {
    const auto inside =
        std::ranges::count_if(pixels, [&](int i) { return i % w >= x0 && i % w < x1 && i / w >= y0 && i / w < y1; });
    return inside * 10 >= static_cast<int64_t>(pixels.size()) * 7;
  });
  const auto count = static_cast<size_t>(std::ranges::count(found, 1));
  if (count == 0 || count * 10 > area * (x1 - x0 == w && y1 - y0 == h ? 5 : 9)) return std::nullopt;
  const Image hard = to_image(found, w, h);
  return w == rgb.width && h == rgb.height ? hard : resample(hard, rgb.width, rgb.height, ResampleFilter::bicubic);
}

std::optional<Image> make_mask(const Instruction& instruction, const Image& rgb) {
  if (rgb.channels != 3 || rgb.width < 1 || rgb.height < 1 || instruction.operations.empty()) return std::nullopt;
  Image mask = Image::blank(rgb.width, rgb.height, 1);
  const bool keep_background = std::ranges::find(instruction.kept, "background") != instruction.kept.end();
  bool told = true;
  for (const Operation& op : instruction.operations) told = told && add_operation(mask, op, rgb);
  if (!told) {
    if (!keep_background) return std::nullopt;
    std::ranges::fill(mask.pixels, static_cast<uint8_t>(255));
  }
  if (keep_background) {
    const auto background = background_mask(rgb);
    if (!background) return told ? std::optional(std::move(mask)) : std::nullopt;
    const Image subject = widened(inverted(*background), std::max(2, std::min(rgb.width, rgb.height) / 64));
    for (size_t i = 0; i < mask.pixels.size(); ++i) mask.pixels[i] = std::min(mask.pixels[i], subject.pixels[i]);
  }
  return mask;
}

}  // namespace inkling
