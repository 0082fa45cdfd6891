// Rounding that knows the inputs: the error of one column is made good by the columns that are rounded after it
// (GPTQ, arXiv 2210.17323, in the form of LDLQ, 2307.13304: no inverse is needed).
//
// For a row of weights w, rounded to w + e, the squared error of its output over all inputs x is e H e^T with
// H = sum x x^T. With H = M D M^T, M unit upper triangular, it is sum D[k] n[k]^2 where n = e M, and rounding
// w[k] - sum of e[j] M[j][k] over j < k makes n[k] the error of that rounding alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/low_bit.h"

namespace inkling {

// Of the inputs of a matrix, [columns, columns], symmetric.
class InputFactor {
 public:
  // Adds damping * mean of the diagonal to the diagonal. `second_moments`: sum x x^T; only its upper half is read.
  // Throws NumericError when the matrix is not positive definite even so.
  InputFactor(std::span<const double> second_moments, int64_t columns, double damping);

  int64_t columns() const { return columns_; }
  // Row j of M from the diagonal on holds M[j][j ..]; the diagonal is 1.
  const float* row(int64_t j) const { return m_.data() + j * columns_; }
  std::span<const float> diagonal() const { return d_; }
  const float* hessian_row(int64_t j) const { return h_.data() + j * columns_; }
  // y H = b for each row of b [rows, columns], in place.
  void solve(std::span<double> rows) const;

 private:
  int64_t columns_;
  std::vector<float> m_, d_, h_;
};

// `rows`: f32 [n, columns], rotated already. Sweeps: how often every code is looked at again once all are chosen.
LowBitMatrix round_with_feedback(const Tensor& rows, const InputFactor& inputs, LowBit kind, int64_t rotation,
                                 const std::string& name, int sweeps = 4);
// tr(E H E^T), E the difference of two matrices [n, columns].
double output_error(const Tensor& a, const Tensor& b, const InputFactor& inputs);

}  // namespace inkling
