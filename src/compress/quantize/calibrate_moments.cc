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
      mean_x_(static_cast<size_t>(columns)),
      mean_y_(mean_x_.size()),
      second_(static_cast<size_t>(columns * columns)),
      cross_(second_.size()),
      x_(static_cast<size_t>(kHeld * columns)),
      difference_(x_.size()) {}

void InputMoments::add(const Tensor& x, const Tensor& y, double weight) {
  const auto root = static_cast<float>(std::sqrt(weight));
  const float *from_x = x.data<float>(), *from_y = y.data<float>();
  for (int64_t r = 0; r < x.rows(); ++r, from_x += columns_, from_y += columns_) {
    float *row = x_.data() + held_ * columns_, *difference = difference_.data() + held_ * columns_;
    std::copy_n(from_x, columns_, row);
    std::copy_n(from_y, columns_, difference);
    rotate_row(row, columns_, rotation_);
    rotate_row(difference, columns_, rotation_);
    for (int64_t c = 0; c < columns_; ++c) {
      mean_x_[c] += weight * row[c];
      mean_y_[c] += weight * difference[c];
      difference[c] = root * (difference[c] - row[c]);
      row[c] *= root;
    }
    weight_ += weight;
    if (++held_ == kHeld) flush();
  }
}

void InputMoments::finish() {
  std::fill(x_.begin() + held_ * columns_, x_.end(), 0.f);
  std::fill(difference_.begin() + held_ * columns_, difference_.end(), 0.f);
  if (held_ > 0) flush();
  x_ = difference_ = {};
  for (int64_t c = 0; c < columns_; ++c) mean_x_[c] /= weight_, mean_y_[c] /= weight_;
  for (int64_t i = 0; i < columns_; ++i)
    for (int64_t j = 0; j < columns_; ++j) {
      const int64_t at = i * columns_ + j;
      second_[at] = second_[at] / weight_ - mean_x_[i] * mean_x_[j];
      cross_[at] = cross_[at] / weight_ - (mean_y_[i] - mean_x_[i]) * mean_x_[j];
    }
}

// A^T X as a linear layer whose weight is X^T and whose rows are A^T.
void InputMoments::flush() {
  Tensor x = host_tensor(Shape{columns_, kHeld}), difference = host_tensor(x.shape());
  transpose(x_.data(), columns_, x.data<float>());
  transpose(difference_.data(), columns_, difference.data<float>());
  Weight w;
  w.name = "moments";
  w.shape = x.shape();
  w.value = x;
  ops_.prepare(w);
  const auto add_product = [&](const Tensor& rows, std::vector<double>& sums) {
    const Tensor product = ops_.linear(ops_.upload(rows), w);
    const float* p = product.data<float>();
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += p[i];
  };
  add_product(x, second_);
  add_product(difference, cross_);
  held_ = 0;
}

}  // namespace inkling
