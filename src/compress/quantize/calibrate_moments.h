// Sums over the inputs of a linear layer: what error feedback needs to know of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/ops.h"

namespace inkling {

// Of rows of `columns` values each, rotated as the layer's codes will be.
class InputMoments {
 public:
  // `ops` multiplies, in float32, on the host.
  InputMoments(Ops& ops, int64_t columns);

  void add(const Tensor& rows, double weight);
  // Ends the sums: mean, and covariance around it.
  void finish();

  int64_t columns() const { return columns_; }
  int64_t rotation() const { return rotation_; }
  std::span<const double> mean() const { return mean_; }
  std::span<const double> covariance() const { return second_; }  // [columns, columns]

 private:
  void flush();

  Ops& ops_;
  const int64_t columns_, rotation_;
  std::vector<double> mean_, second_;
  double weight_ = 0;
  std::vector<float> rows_;  // waiting, each times the root of its weight
  int64_t held_ = 0;
};

}  // namespace inkling
