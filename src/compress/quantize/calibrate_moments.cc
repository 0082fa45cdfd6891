#include "compress/quantize/calibrate_moments.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "formats/int_quant.h"

namespace inkling {

namespace {

constexpr int64_t kHeld = 1024;  // rows that are multiplied together

// [kHeld, columns] -> [columns, kHeld]
void transpose(const float* rows, int64_t columns, float* to) {
  constexpr int64_t kSide = 32;
  parallel_for((columns + kSide - 1) / kSide, 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile)
      for (int64_t r0 = 0; r0 < kHeld; r0 += kSide)
        for (int64_t c = tile * kSide; c < std::min(columns, (tile + 1) * kSide); ++c)
          for (int64_t r = r0; r < r0 + kSide; ++r) to[c * kHeld + r] = rows[r * columns + c];
  });
}

}  // namespace

InputMoments::InputMoments(Ops& ops, int64_t columns)
    : ops_(ops),
      columns_(columns),
      rotation_(default_rotation(columns)),
      mean_(static_cast<size_t>(columns)),
      second_(static_cast<size_t>(columns * columns)),
      rows_(static_cast<size_t>(kHeld * columns)) {}

void InputMoments::add(const Tensor& rows, double weight) {
  const auto root = static_cast<float>(std::sqrt(weight));
  const float* from = rows.data<float>();
  for (int64_t r = 0; r < rows.rows(); ++r, from += columns_) {
    float* row = rows_.data() + held_ * columns_;
    std::copy_n(from, columns_, row);
    rotate_row(row, columns_, rotation_);
    for (int64_t c = 0; c < columns_; ++c) {
      mean_[c] += weight * row[c];
      row[c] *= root;
    }
    weight_ += weight;
    if (++held_ == kHeld) flush();
  }
}

void InputMoments::finish() {
  std::fill(rows_.begin() + held_ * columns_, rows_.end(), 0.f);
  if (held_ > 0) flush();
  rows_ = {};
  for (double& m : mean_) m /= weight_;
  for (int64_t i = 0; i < columns_; ++i)
    for (int64_t j = 0; j < columns_; ++j) {
      double& s = second_[i * columns_ + j];
      s = s / weight_ - mean_[i] * mean_[j];
    }
}

// X^T X as a linear layer whose weight is X^T and whose rows are X^T too.
void InputMoments::flush() {
  Tensor transposed = host_tensor(Shape{columns_, kHeld});
  transpose(rows_.data(), columns_, transposed.data<float>());
  Weight w;
  w.name = "moments";
  w.shape = transposed.shape();
  w.value = transposed;
  ops_.prepare(w);
  const Tensor product = ops_.linear(ops_.upload(transposed), w);
  const float* p = product.data<float>();
  for (size_t i = 0; i < second_.size(); ++i) second_[i] += p[i];
  held_ = 0;
}

}  // namespace inkling
