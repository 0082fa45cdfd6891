#include "safety/text_classifier.h"

#include <algorithm>
#include <cmath>

#include "safety/byte_reader.h"
#include "safety/normalize.h"
#include "safety/word_lists.h"
#include "text/unicode.h"

namespace inkling {

namespace {

// Windows of a long text, in characters. Training sentences are shorter.
constexpr size_t kWindow = 64, kStride = 32;
// One word or two say too little to a linear model; lists judge words.
constexpr size_t kLeastFeatures = 4;

uint32_t hash_of(uint32_t kind, std::u32string_view text) {
  uint32_t h = 2166136261u ^ kind;
  for (const char32_t c : text) h = (h ^ static_cast<uint32_t>(c)) * 16777619u;
  return h ^ h >> 15;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

std::vector<uint32_t> text_features(std::u32string_view text) {
  std::vector<uint32_t> features;
  std::vector<std::u32string> words;
  for (size_t begin = 0; begin < text.size();) {
    if (text[begin] == ' ') {
      ++begin;
      continue;
    }
    const bool han = is_han(text[begin]);
    size_t end = begin;
    while (end < text.size() && text[end] != ' ' && is_han(text[end]) == han) ++end;
    const std::u32string_view piece = text.substr(begin, end - begin);
    if (han) {
      for (size_t n = 2; n <= 4; ++n)
        for (size_t i = 0; i + n <= piece.size(); ++i)
          features.push_back(hash_of(static_cast<uint32_t>(n), piece.substr(i, n)));
    } else {
      words.emplace_back(piece);
    }
    begin = end;
  }
  for (size_t i = 0; i < words.size(); ++i) {
    features.push_back(hash_of(6, words[i]));
    if (i + 1 < words.size()) features.push_back(hash_of(7, words[i] + U" " + words[i + 1]));
    if (i + 2 < words.size()) {
      features.push_back(hash_of(8, words[i] + U" " + words[i + 1] + U" " + words[i + 2]));
      features.push_back(hash_of(9, words[i] + U" " + words[i + 2]));
    }
  }
  std::ranges::sort(features);
  features.erase(std::unique(features.begin(), features.end()), features.end());
  return features;
}

TextClassifier::TextClassifier(std::string_view bytes) {
  ByteReader in(bytes, "classifier.bin", "INKTEXT1");
  buckets_ = in.read<uint32_t>();
  category_buckets_ = in.read<uint32_t>();
  const auto categories = in.read<uint32_t>();
  const auto power_of_two = [](uint32_t n) { return n != 0 && (n & (n - 1)) == 0; };
  if (!power_of_two(buckets_) || !power_of_two(category_buckets_) || categories == 0 || categories > 64)
    throw ModelError("classifier.bin: got {} and {} buckets for {} categories", buckets_, category_buckets_,
                     categories);
  bias_ = in.read<float>();
  scale_ = in.read<float>();
  category_scale_ = in.read<float>();
  for (uint32_t i = 0; i < categories; ++i) {
    categories_.emplace_back(in.take(in.read<uint8_t>()));
    if (!WordLists::is_category(categories_.back())) throw ModelError("classifier.bin: unknown category");
  }
  category_bias_ = in.read_many<float>(categories);
  weights_ = in.read_many<int8_t>(buckets_);
  category_weights_ = in.read_many<int8_t>(uint64_t{categories} * category_buckets_);
  in.finish();
  bool finite = std::isfinite(bias_) && std::isfinite(scale_) && std::isfinite(category_scale_);
  for (const float b : category_bias_) finite &= std::isfinite(b);
  if (!finite) throw ModelError("classifier.bin: holds a value that is not finite");
}

double TextClassifier::score(std::u32string_view window, std::vector<uint32_t>& features) const {
  features = text_features(window);
  if (features.size() < kLeastFeatures) return 0;
  int64_t sum = 0;
  for (const uint32_t f : features) sum += weights_[f & (buckets_ - 1)];
  return sigmoid(bias_ + scale_ * static_cast<double>(sum) / std::sqrt(static_cast<double>(features.size())));
}

std::string TextClassifier::category(std::u32string_view window) const {
  const std::vector<uint32_t> features = text_features(window);
  const double norm = std::sqrt(static_cast<double>(std::max<size_t>(1, features.size())));
  size_t best = 0;
  double best_value = -INFINITY;
  for (size_t k = 0; k < categories_.size(); ++k) {
    int64_t sum = 0;
    for (const uint32_t f : features) sum += category_weights_[k * category_buckets_ + (f & (category_buckets_ - 1))];
    const double value = category_bias_[k] + category_scale_ * static_cast<double>(sum) / norm;
    if (value > best_value) best_value = value, best = k;
  }
  return categories_[best];
}

Classified TextClassifier::classify(std::u32string_view text) const {
  std::vector<uint32_t> features;
  Classified worst;
  std::u32string_view worst_window;
  const auto look = [&](std::u32string_view window) {
    const double p = score(window, features);
    if (p > worst.probability) worst.probability = p, worst_window = window;
  };
  if (text.size() <= 2 * kWindow) look(text);
  // Windows begin and end between words.
  for (size_t begin = 0; text.size() > kWindow && begin < text.size(); begin += kStride) {
    size_t from = begin, to = std::min(text.size(), begin + kWindow);
    while (from > 0 && from < begin + 16 && text[from - 1] != ' ' && !is_han(text[from])) ++from;
    while (to < text.size() && to > from && to + 16 > begin + kWindow && text[to] != ' ' && !is_han(text[to])) --to;
    if (to > from) look(text.substr(from, to - from));
    if (begin + kWindow >= text.size()) break;
  }
  if (!worst_window.empty()) worst.category = category(worst_window);
  return worst;
}

}  // namespace inkling
