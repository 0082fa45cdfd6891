// Rounding that knows the inputs: the error of one column is made good by the columns that are rounded after it
// (GPTQ, arXiv 2210.17323, in the form of LDLQ, 2307.13304, which needs no inverse).
//
// A row of weights w that is rounded to w + e changes its outputs by e H e^T in the mean square, H the second moments
// of the inputs. With H = M D M^T, M unit upper triangular, that is the sum of D[k] n[k]^2 with n = e M, and rounding
// w[k] - (sum of e[j] M[j][k] over j < k) makes n[k] the error of that rounding alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/low_bit.h"

namespace inkling {

// M, D and H of a matrix's inputs.
class InputFactor {
 public:
  // `moments`: symmetric, [columns, columns]; damping times the mean of its diagonal is added to the diagonal (what was
  // not seen might come too). Throws NumericError when that is not positive definite.
  InputFactor(std::span<const double> moments, int64_t columns, double damping);

  int64_t columns() const { return columns_; }
  const float* m_row(int64_t j) const { return m_.data() + j * columns_; }  // from the diagonal on
  const float* h_row(int64_t j) const { return h_.data() + j * columns_; }
  std::span<const float> d() const { return d_; }
  // y with y H = b, for each row b of [n, columns], in place.
  void solve(std::span<double> rows) const;

 private:
  int64_t columns_;
  std::vector<float> m_, d_, h_;
};

// The matrix that gives, of the inputs x that there are, most nearly what w [n, columns] gives of other inputs y:
// w + w E[(y - x) x^T] H^-1. `missing`: that expectation, [columns, columns].
Tensor fit_to_inputs(const Tensor& w, std::span<const double> missing, const InputFactor& inputs);

// f32 [n, columns], rotated if the codes are to be, to w8a8 or w4a8 (formats/int_quant.h); parts.rotation stays 0.
// Never worse than quantize_low_bit() by output_error(): a row that is, is rounded as there.
LowBitMatrix round_with_feedback(const Tensor& rows, const InputFactor& inputs, LowBit kind, const std::string& name);

// tr(E H E^T), E the difference of two matrices f32 [n, columns]; without b: of a itself.
double output_error(const Tensor& a, const Tensor& b, const InputFactor& inputs);

}  // namespace inkling
