// Rows of random numbers and the error that is left of them.
#pragma once

#include <cmath>
#include <random>

#include "tensor/tensor.h"

namespace inkling::testing {

inline Tensor normal_rows(int64_t rows, int64_t columns, uint32_t seed = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor t = host_tensor(Shape{rows, columns});
  for (float& v : t.span<float>()) v = normal(generator);
  return t;
}

// Student's t with 5 degrees of freedom: heavy tails, as weights have.
inline Tensor student_rows(int64_t rows, int64_t columns, uint32_t seed = 1) {
  std::mt19937 generator(seed);
  std::student_t_distribution<float> student(5.f);
  Tensor t = host_tensor(Shape{rows, columns});
  for (float& v : t.span<float>()) v = student(generator);
  return t;
}

// Power of the values over that of the difference.
inline double decibel(const Tensor& values, const Tensor& other) {
  double power = 0, error = 0;
  for (int64_t i = 0; i < values.elements(); ++i) {
    const double v = values.data<float>()[i], d = other.data<float>()[i] - v;
    power += v * v, error += d * d;
  }
  return 10 * std::log10(power / error);
}

}  // namespace inkling::testing
