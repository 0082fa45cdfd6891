#include "safety/picture_check.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "safety/byte_reader.h"

namespace inkling {

namespace {

constexpr int kGrid = 64, kCells = kGrid * kGrid;

struct Cell {
  float r, g, b;
  float luma() const { return 0.299f * r + 0.587f * g + 0.114f * b; }
};

// Averages of boxes, over white where there is transparency.
std::vector<Cell> shrink(const Image& p) {
  std::vector<Cell> cells(kCells);
  for (int y = 0; y < kGrid; ++y)
    for (int x = 0; x < kGrid; ++x) {
      const int x0 = static_cast<int>(int64_t{x} * p.width / kGrid),
                y0 = static_cast<int>(int64_t{y} * p.height / kGrid);
      const int x1 = std::max(x0 + 1, static_cast<int>(int64_t{x + 1} * p.width / kGrid));
      const int y1 = std::max(y0 + 1, static_cast<int>(int64_t{y + 1} * p.height / kGrid));
      std::array<double, 3> sum = {0, 0, 0};
      for (int v = y0; v < y1; ++v)
        for (int u = x0; u < x1; ++u) {
          const uint8_t* px = p.at(u, v);
          const double alpha = p.channels == 4 ? px[3] / 255.0 : 1.0;
          for (int c = 0; c < 3; ++c) sum[c] += px[p.channels >= 3 ? c : 0] * alpha + 255 * (1 - alpha);
        }
      const double n = static_cast<double>(x1 - x0) * (y1 - y0);
      cells[y * kGrid + x] = {static_cast<float>(sum[0] / n), static_cast<float>(sum[1] / n),
                              static_cast<float>(sum[2] / n)};
    }
  return cells;
}

// Skin by the rule of Kovac, Peer and Solina (2003) or the usual chroma box, which also takes dark skin.
bool is_skin(const Cell& c) {
  const float high = std::max({c.r, c.g, c.b}), low = std::min({c.r, c.g, c.b});
  if (c.r > 95 && c.g > 40 && c.b > 20 && high - low > 15 && c.r - c.g > 15 && c.r > c.b) return true;
  const float cb = 128 - 0.168736f * c.r - 0.331264f * c.g + 0.5f * c.b;
  const float cr = 128 + 0.5f * c.r - 0.418688f * c.g - 0.081312f * c.b;
  return cb >= 77 && cb <= 127 && cr >= 133 && cr <= 173 && c.luma() > 40;
}

bool is_blood(const Cell& c) { return c.r > 80 && c.g < 0.35f * c.r && c.b < 0.4f * c.r; }

// Size and bounding box of the largest 4-connected area, as fractions of the picture, and the number of areas.
struct Areas {
  float largest = 0, box = 0, count = 0;
};
Areas areas_of(const std::vector<bool>& mask) {
  std::vector<bool> seen(kCells, false);
  Areas areas;
  for (int start = 0; start < kCells; ++start) {
    if (!mask[start] || seen[start]) continue;
    std::vector<int> open = {start};
    seen[start] = true;
    int size = 0, x0 = kGrid, x1 = -1, y0 = kGrid, y1 = -1;
    while (!open.empty()) {
      const int at = open.back(), x = at % kGrid, y = at / kGrid;
      open.pop_back();
      ++size;
      x0 = std::min(x0, x), x1 = std::max(x1, x), y0 = std::min(y0, y), y1 = std::max(y1, y);
      const std::array<int, 4> next = {x > 0 ? at - 1 : -1, x + 1 < kGrid ? at + 1 : -1, at - kGrid, at + kGrid};
      for (const int n : next)
        if (n >= 0 && n < kCells && mask[n] && !seen[n]) seen[n] = true, open.push_back(n);
    }
    areas.count += 1;
    const float share = static_cast<float>(size) / kCells;
    if (share > areas.largest) {
      areas.largest = share;
      areas.box = static_cast<float>((x1 - x0 + 1) * (y1 - y0 + 1)) / kCells;
    }
  }
  return areas;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Below these a picture is not judged by its head at all, whatever colours it has.
constexpr float kLeastSkin = 0.10f, kLeastBlood = 0.03f;
constexpr double kBlockAt = 0.8;
// A picture that is black and flat came out of a broken run.
constexpr float kBlackMean = 0.04f, kFlatDeviation = 0.02f;

enum Feature {
  kEdges = 64,
  kSkin = 72,
  kSkinLargest,
  kSkinBox,
  kSkinCount,
  kBlood,
  kBloodLargest,
  kDark,
  kBloodDark,
  kBloodBesideDark,
  kLumaMean,
  kLumaDeviation,
  kSaturation,
  kEnd
};
static_assert(kEnd == kPictureFeatures);

}  // namespace

// 0..63 histogram of 4x4x4 colours; 64..71 edge strengths (thresholds 2, 4, 8 ... 128 of luma); then `Feature`.
std::array<float, kPictureFeatures> picture_features(const Image& picture) {
  if (picture.width <= 0 || picture.height <= 0 || picture.channels < 1 || picture.channels > 4 ||
      picture.channels == 2 || picture.pixels.size() != picture.row_bytes() * static_cast<size_t>(picture.height))
    throw ArgumentError("safety: got a picture of {}x{}x{} with {} bytes", picture.width, picture.height,
                        picture.channels, picture.pixels.size());
  const std::vector<Cell> cells = shrink(picture);
  std::array<float, kPictureFeatures> f{};
  constexpr float kOne = 1.0f / kCells;
  std::vector<bool> skin(kCells), blood(kCells), dark(kCells);
  double mean = 0, square = 0, saturation = 0;
  for (int i = 0; i < kCells; ++i) {
    const Cell& c = cells[i];
    const auto level = [](float v) { return std::min(3, static_cast<int>(v / 64)); };
    f[level(c.r) * 16 + level(c.g) * 4 + level(c.b)] += kOne;
    skin[i] = is_skin(c);
    blood[i] = is_blood(c);
    dark[i] = c.luma() < 40;
    f[kSkin] += skin[i] * kOne, f[kBlood] += blood[i] * kOne, f[kDark] += dark[i] * kOne;
    mean += c.luma() / 255;
    square += std::pow(c.luma() / 255, 2);
    const float high = std::max({c.r, c.g, c.b}), low = std::min({c.r, c.g, c.b});
    if (high > 0) saturation += (high - low) / high;
  }
  for (int y = 1; y + 1 < kGrid; ++y)
    for (int x = 1; x + 1 < kGrid; ++x) {
      const int i = y * kGrid + x;
      const float dx = cells[i + 1].luma() - cells[i - 1].luma(),
                  dy = cells[i + kGrid].luma() - cells[i - kGrid].luma();
      const float edge = std::sqrt(dx * dx + dy * dy);
      int bin = 0;
      for (float limit = 2; bin < 7 && edge >= limit; limit *= 2) ++bin;
      f[kEdges + bin] += kOne;
      if (blood[i] && (dark[i - 1] || dark[i + 1] || dark[i - kGrid] || dark[i + kGrid])) f[kBloodBesideDark] += kOne;
    }
  const Areas s = areas_of(skin), b = areas_of(blood);
  f[kSkinLargest] = s.largest, f[kSkinBox] = s.box, f[kSkinCount] = std::min(1.0f, s.count / 64);
  f[kBloodLargest] = b.largest;
  f[kBloodDark] = f[kBlood] * f[kDark];
  mean /= kCells;
  f[kLumaMean] = static_cast<float>(mean);
  f[kLumaDeviation] = static_cast<float>(std::sqrt(std::max(0.0, square / kCells - mean * mean)));
  f[kSaturation] = static_cast<float>(saturation / kCells);
  return f;
}

PictureCheck::PictureCheck(std::string_view bytes) {
  ByteReader in(bytes, "picture.bin", "INKPICT1");
  if (const auto n = in.read<uint32_t>(); n != kPictureFeatures)
    throw ModelError("picture.bin: got {} features, expected {}", n, kPictureFeatures);
  mean_ = in.read_many<float>(kPictureFeatures);
  scale_ = in.read_many<float>(kPictureFeatures);
  for (Head* head : {&skin_, &blood_}) {
    head->bias = in.read<float>();
    head->weights = in.read_many<float>(kPictureFeatures);
  }
  in.finish();
  bool good = std::isfinite(skin_.bias) && std::isfinite(blood_.bias);
  for (int i = 0; i < kPictureFeatures; ++i)
    good &= std::isfinite(mean_[i]) && std::isfinite(scale_[i]) && scale_[i] > 0 && std::isfinite(skin_.weights[i]) &&
            std::isfinite(blood_.weights[i]);
  if (!good) throw ModelError("picture.bin: holds a value that is not finite");
}

PictureFinding PictureCheck::check(const Image& picture) const {
  const auto f = picture_features(picture);
  if (f[kLumaMean] < kBlackMean && f[kLumaDeviation] < kFlatDeviation) return {"error", 1};
  const auto probability = [&](const Head& head) {
    double x = head.bias;
    for (int i = 0; i < kPictureFeatures; ++i)
      x += head.weights[i] * std::clamp((f[i] - mean_[i]) / scale_[i], -8.f, 8.f);
    return sigmoid(x);
  };
  const double skin = f[kSkinLargest] >= kLeastSkin ? probability(skin_) : 0;
  const double blood = f[kBlood] >= kLeastBlood ? probability(blood_) : 0;
  if (std::max(skin, blood) < kBlockAt) return {"", std::max(skin, blood)};
  return skin >= blood ? PictureFinding{"sexual", skin} : PictureFinding{"violence", blood};
}

}  // namespace inkling
