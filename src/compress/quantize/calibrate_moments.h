// Sums over the inputs of a linear layer: what error feedback needs to know of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/ops.h"

namespace inkling {

// Of rows x of `columns` values each, and of the rows y that would stand there if nothing had been rounded; both
// rotated as the layer's codes will be.
class InputMoments {
 public:
  // `ops` multiplies, in float32, on the host.
  InputMoments(Ops& ops, int64_t columns);

  void add(const Tensor& x, const Tensor& y, double weight);
  // Ends the sums: means, and moments around them.
  void finish();

  int64_t columns() const { return columns_; }
  int64_t rotation() const { return rotation_; }
  std::span<const double> mean() const { return mean_x_; }
  std::span<const double> mean_unrounded() const { return mean_y_; }
  std::span<const double> covariance() const { return second_; }  // of x, [columns, columns]
  std::span<const double> missing() const { return cross_; }      // of y - x with x, [columns, columns]

 private:
  void flush();

  Ops& ops_;
  const int64_t columns_, rotation_;
  std::vector<double> mean_x_, mean_y_, second_, cross_;
  double weight_ = 0;
  std::vector<float> x_, difference_;  // rows that wait, each times the root of its weight
  int64_t held_ = 0;
};

}  // namespace inkling
