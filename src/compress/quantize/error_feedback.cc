#include "compress/quantize/error_feedback.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/threads.h"
#include "formats/int_quant.h"
#include "formats/low_bit.h"

namespace inkling {

namespace {

constexpr int64_t kTile = 64;      // columns of the factor that are finished together
constexpr int64_t kTogether = 16;  // rows of weights that share one passage over M
// Row scales tried: the largest group reaches the end of the codes at this group scale.
constexpr std::array<float, 3> kReaches{15.f, 17.f, 19.f};
constexpr int kFewest = -4, kMost = 1;  // group scales around the one that reaches a group's largest value

// The sanitizers' start-up comes too late for the resolvers of clones.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define INKLING_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define INKLING_CLONES
#endif

INKLING_CLONES double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

INKLING_CLONES float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

INKLING_CLONES double dot(const double* a, const float* b, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * static_cast<double>(b[i]);
  return sum;
}

// y += a x
INKLING_CLONES void add_scaled(float* y, const float* x, float a, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

INKLING_CLONES void add_scaled(double* y, const float* x, double a, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += a * static_cast<double>(x[i]);
}

INKLING_CLONES void add_scaled(double* y, const double* x, double a, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// Calls body(first, count) for runs of rows that share one passage over a matrix of [columns, columns], which does not
// fit a cache.
void for_each_run(int64_t rows, const std::function<void(int64_t, int64_t)>& body) {
  parallel_for((rows + kTogether - 1) / kTogether, 1, [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) body(run * kTogether, std::min(kTogether, rows - run * kTogether));
  });
}

// Lower Cholesky factor in place; what is above the diagonal stays.
void factorize(std::vector<double>& a, int64_t n) {
  for (int64_t begin = 0; begin < n; begin += kTile) {
    const int64_t end = std::min(n, begin + kTile);
    const auto finish = [&](int64_t i) {
      double* row = a.data() + i * n;
      for (int64_t j = begin; j < std::min(end, i + 1); ++j) {
        const double* other = a.data() + j * n;
        const double rest = row[j] - dot(row, other, j);
        if (i > j) {
          row[j] = rest / other[j];
          continue;
        }
        if (!(rest > 0)) throw NumericError("moments of inputs: not positive definite at column {}", n - 1 - i);
        row[j] = std::sqrt(rest);
      }
    };
    for (int64_t i = begin; i < end; ++i) finish(i);
    parallel_for(n - end, 4, [&](int64_t from, int64_t to) {
      for (int64_t i = end + from; i < end + to; ++i) finish(i);
    });
  }
}

// What codes may be: lowest <= q <= highest, times the row scale and a group scale of 1 to largest_scale.
struct Grid {
  float lowest, highest;
  int64_t group;  // columns that share a group scale
  int largest_scale;
};
Grid grid_of(LowBit kind, int64_t columns) {
  return kind == LowBit::w4a8 ? Grid{-8.f, 7.f, kInt4Group, 16} : Grid{-127.f, 127.f, columns, 1};
}

// The step that takes the values of a group to the ends of the grid.
float reach_of(const float* w, int64_t count, const Grid& grid) {
  float up = 0, down = 0;
  for (int64_t i = 0; i < count; ++i) up = std::max(up, w[i]), down = std::max(down, -w[i]);
  return std::max(up / grid.highest, down / -grid.lowest);
}

// One row on its way through the groups, with a row scale.
struct Row {
  const float* w = nullptr;
  float scale = 1.f;
  std::vector<float> target;  // w with the feedback so far
  std::vector<float> q, error;
  std::vector<uint8_t> group_scale;
  double sum = 0;  // of D n^2
};

class Rounding {
 public:
  Rounding(const InputFactor& inputs, const Grid& grid)
      : inputs_(inputs), grid_(grid), q_(static_cast<size_t>(grid.group)), error_(q_.size()), work_(q_.size()) {}

  void start(Row& row, const float* w, float scale) const {
    const auto k = static_cast<size_t>(inputs_.columns());
    row.w = w;
    row.scale = scale;
    row.target.assign(w, w + k);
    row.q.resize(k);
    row.error.resize(k);
    row.group_scale.resize(k / static_cast<size_t>(grid_.group));
    row.sum = 0;
  }

  // The best scale of the group at `begin`, and its codes.
  void round_group(Row& row, int64_t begin) {
    const float reach = reach_of(row.target.data() + begin, grid_.group, grid_) / row.scale;
    const int most = grid_.largest_scale;
    const int middle =
        most == 1 ? 1 : static_cast<int>(std::clamp(std::nearbyint(reach), 1.f, static_cast<float>(most)));
    double least = std::numeric_limits<double>::infinity();
    for (int s = std::max(1, middle + kFewest); s <= std::min(most, middle + kMost); ++s) {
      const double sum = try_group(row, begin, row.scale * static_cast<float>(s));
      if (sum >= least) continue;
      least = sum;
      row.group_scale[static_cast<size_t>(begin / grid_.group)] = static_cast<uint8_t>(s);
      std::ranges::copy(q_, row.q.begin() + begin);
      std::ranges::copy(error_, row.error.begin() + begin);
    }
    row.sum += least;
  }

  // The group's errors into the columns after it.
  void feed_back(Row& row, int64_t begin) const {
    const int64_t next = begin + grid_.group, rest = inputs_.columns() - next;
    if (rest == 0) return;
    for (int64_t j = begin; j < next; ++j)
      add_scaled(row.target.data() + next, inputs_.m_row(j) + next, -row.error[static_cast<size_t>(j)], rest);
  }

 private:
  double try_group(const Row& row, int64_t begin, float step) {
    const int64_t count = grid_.group;
    const float inverse = 1.f / step;
    std::copy_n(row.target.data() + begin, count, work_.data());
    double sum = 0;
    for (int64_t j = 0; j < count; ++j) {
      q_[j] = std::clamp(std::nearbyint(work_[j] * inverse), grid_.lowest, grid_.highest);
      const float value = step * q_[j], n = value - work_[j];
      sum += double{inputs_.d()[begin + j]} * n * n;
      error_[j] = value - row.w[begin + j];
      add_scaled(work_.data() + j + 1, inputs_.m_row(begin + j) + begin + j + 1, -error_[j], count - j - 1);
    }
    return sum;
  }

  const InputFactor& inputs_;
  const Grid grid_;
  std::vector<float> q_, error_, work_;
};

// e H e^T of each row.
std::vector<double> output_errors(const std::vector<std::vector<float>>& rows, const InputFactor& inputs) {
  std::vector<double> sums(rows.size());
  for (int64_t c = 0; c < inputs.columns(); ++c)
    for (size_t r = 0; r < rows.size(); ++r)
      if (!rows[r].empty()) sums[r] += double{rows[r][c]} * dot(rows[r].data(), inputs.h_row(c), inputs.columns());
  return sums;
}

// What a row of the matrix is off by.
std::vector<float> error_of(const LowBitMatrix& m, int64_t r, const float* w, int64_t k) {
  std::vector<float> e(static_cast<size_t>(k));
  const float scale = m.parts.scale.data<float>()[r];
  if (m.parts.kind == LowBit::w8a8)
    dequantize_row_i8(m.value.data<int8_t>() + r * k, scale, k, e.data());
  else
    dequantize_row_i4(m.value.data<uint8_t>() + r * k / 2, m.parts.group_scale.data<uint8_t>() + r * (k / kInt4Group),
                      scale, k, e.data());
  for (int64_t c = 0; c < k; ++c) e[c] -= w[c];
  return e;
}

void store(const Row& row, LowBitMatrix& m, int64_t r) {
  const int64_t k = std::ssize(row.q), groups = std::ssize(row.group_scale);
  m.parts.scale.data<float>()[r] = row.scale;
  if (m.parts.kind == LowBit::w8a8) {
    int8_t* codes = m.value.data<int8_t>() + r * k;
    for (int64_t c = 0; c < k; ++c) codes[c] = static_cast<int8_t>(row.q[c]);
    return;
  }
  std::ranges::copy(row.group_scale, m.parts.group_scale.data<uint8_t>() + r * groups);
  uint8_t* codes = m.value.data<uint8_t>() + r * k / 2;
  for (int64_t c = 0; c < k; c += 2)
    codes[c / 2] = static_cast<uint8_t>(static_cast<int>(row.q[c] + 8.f) | static_cast<int>(row.q[c + 1] + 8.f) << 4);
}

}  // namespace

InputFactor::InputFactor(std::span<const double> moments, int64_t columns, double damping)
    : columns_(columns), m_(moments.size()), d_(static_cast<size_t>(columns)), h_(moments.size()) {
  const int64_t n = columns;
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += moments[i * n + i] / static_cast<double>(n);
  const double added = mean > 0 ? damping * mean : 1.;
  // Read from the end, M D M^T is L L^T: the pivots of the last columns come first.
  std::vector<double> a(moments.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j) {
      const double v = moments[i * n + j] + (i == j ? added : 0.);
      h_[i * n + j] = h_[j * n + i] = static_cast<float>(v);
      a[(n - 1 - i) * n + (n - 1 - j)] = v;
    }
  factorize(a, n);
  for (int64_t j = 0; j < n; ++j) {
    const double* row = a.data() + (n - 1 - j) * n;
    for (int64_t i = j; i < n; ++i) m_[j * n + i] = static_cast<float>(row[n - 1 - i] / a[(n - 1 - i) * (n + 1)]);
    d_[j] = static_cast<float>(row[n - 1 - j] * row[n - 1 - j]);
  }
}

// z M^T = b from the last column down, z / D, then y M = z.
void InputFactor::solve(std::span<double> rows) const {
  const int64_t n = columns_;
  for_each_run(static_cast<int64_t>(rows.size()) / n, [&](int64_t first, int64_t count) {
    double* b = rows.data() + first * n;
    for (int64_t j = n - 1; j >= 0; --j)
      for (int64_t r = 0; r < count; ++r) b[r * n + j] -= dot(b + r * n + j + 1, m_row(j) + j + 1, n - 1 - j);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t j = 0; j < n; ++j) b[r * n + j] /= d_[j];
    for (int64_t j = 0; j < n; ++j)
      for (int64_t r = 0; r < count; ++r) add_scaled(b + r * n + j + 1, m_row(j) + j + 1, -b[r * n + j], n - 1 - j);
  });
}

Tensor fit_to_inputs(const Tensor& w, std::span<const double> missing, const InputFactor& inputs) {
  const int64_t n = w.dim(0), k = w.dim(1);
  std::vector<double> more(static_cast<size_t>(n * k));
  const float* from = w.data<float>();
  for_each_run(n, [&](int64_t first, int64_t count) {
    for (int64_t i = 0; i < k; ++i)
      for (int64_t r = first; r < first + count; ++r)
        add_scaled(more.data() + r * k, missing.data() + i * k, double{from[r * k + i]}, k);
  });
  inputs.solve(more);
  Tensor result = host_tensor(w.shape());
  float* to = result.data<float>();
  for (int64_t i = 0; i < n * k; ++i) to[i] = from[i] + static_cast<float>(more[i]);
  return result;
}

LowBitMatrix round_with_feedback(const Tensor& rows, const InputFactor& inputs, LowBit kind, const std::string& name) {
  const int64_t n = rows.dim(0), k = rows.dim(1);
  if (k != inputs.columns() || (kind != LowBit::w4a8 && kind != LowBit::w8a8))
    throw RuntimeError("{}: got {} to be rounded to {} by the moments of {} inputs", name, rows.shape().str(),
                       inkling::name(kind), inputs.columns());
  LowBitMatrix m = quantize_low_bit(rows, kind, 0, name);
  const Grid grid = grid_of(kind, k);
  const bool one_scale = grid.largest_scale == 1;
  const float* from = rows.data<float>();
  for_each_run(n, [&](int64_t first, int64_t count) {
    Rounding rounding(inputs, grid);
    std::vector<std::vector<Row>> tries(static_cast<size_t>(count));
    for (int64_t r = 0; r < count; ++r) {
      const float* w = from + (first + r) * k;
      float reach = 0;
      for (int64_t g = 0; g < k; g += grid.group) reach = std::max(reach, reach_of(w + g, grid.group, grid));
      tries[r].resize(reach < kZeroRow ? 0 : one_scale ? 1 : kReaches.size());
      for (size_t i = 0; i < tries[r].size(); ++i)
        rounding.start(tries[r][i], w, one_scale ? reach : reach / kReaches[i]);
    }
    for (int64_t g = 0; g < k; g += grid.group) {
      for (auto& row : tries)
        for (Row& one : row) rounding.round_group(one, g);
      for (auto& row : tries)
        for (Row& one : row) rounding.feed_back(one, g);
    }
    std::vector<std::vector<float>> nearest(tries.size()), fed(tries.size());
    std::vector<const Row*> best(tries.size());
    for (int64_t r = 0; r < count; ++r) {
      if (tries[r].empty()) continue;
      best[r] = &*std::ranges::min_element(tries[r], {}, &Row::sum);
      nearest[r] = error_of(m, first + r, best[r]->w, k);
      fed[r] = best[r]->error;
    }
    const std::vector<double> before = output_errors(nearest, inputs), after = output_errors(fed, inputs);
    for (int64_t r = 0; r < count; ++r)
      if (after[r] < before[r]) store(*best[r], m, first + r);
  });
  return m;
}

double output_error(const Tensor& a, const Tensor& b, const InputFactor& inputs) {
  const int64_t n = a.dim(0), k = a.dim(1);
  const float *x = a.data<float>(), *y = b.defined() ? b.data<float>() : nullptr;
  std::vector<double> sums(static_cast<size_t>(n));
  for_each_run(n, [&](int64_t first, int64_t count) {
    std::vector<std::vector<float>> e;
    for (int64_t r = first; r < first + count; ++r) {
      e.emplace_back(x + r * k, x + (r + 1) * k);
      for (int64_t c = 0; y != nullptr && c < k; ++c) e.back()[c] -= y[r * k + c];
    }
    std::ranges::copy(output_errors(e, inputs), sums.begin() + first);
  });
  return std::accumulate(sums.begin(), sums.end(), 0.);
}

}  // namespace inkling
