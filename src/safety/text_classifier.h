// A linear classifier over hashed n-grams, for what no list of words can hold: "someone lying in red liquid".
// Trained by tools/safety/train_text.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace inkling {

struct Classified {
  double probability = 0;  // of unsafe
  std::string category;    // most probable one if it is
};

class TextClassifier {
 public:
  // The bytes of classifier.bin. Throws ModelError when they are damaged.
  explicit TextClassifier(std::string_view bytes);
  // `text`: plain_text(). The worst of its windows, so that a bad clause does not drown in a long text.
  Classified classify(std::u32string_view text) const;

 private:
  double score(std::u32string_view window, std::vector<uint32_t>& features) const;
  std::string category(std::u32string_view window) const;

  uint32_t buckets_ = 0, category_buckets_ = 0;
  float bias_ = 0, scale_ = 0, category_scale_ = 0;
  std::vector<int8_t> weights_;           // [buckets]
  std::vector<int8_t> category_weights_;  // [categories][category_buckets]
  std::vector<float> category_bias_;
  std::vector<std::string> categories_;
};

// Hashes of the n-grams of a text, each once, sorted: 2 to 4 Han characters, 1 to 3 words, pairs of
// words with one between. Single characters and pieces of words said more of the topic than of the harm.
std::vector<uint32_t> text_features(std::u32string_view text);

}  // namespace inkling
