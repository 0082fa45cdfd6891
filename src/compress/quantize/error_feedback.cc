#include "compress/quantize/error_feedback.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/threads.h"
#include "formats/int_quant.h"

namespace inkling {

namespace {

constexpr int64_t kTile = 64;
constexpr int64_t kChunk = 32;  // rows of weights that pass over M together

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define INKLING_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define INKLING_CLONES
#endif

INKLING_CLONES double dot(const double* a, const double* b, int64_t n) {
  double s = 0;
#pragma omp simd reduction(+ : s)
  for (int64_t i = 0; i < n; ++i) s += a[i] * b[i];
  return s;
}

INKLING_CLONES double dot_f(const float* a, const float* b, int64_t n) {
  float s = 0;
#pragma omp simd reduction(+ : s)
  for (int64_t i = 0; i < n; ++i) s += a[i] * b[i];
  return s;
}

// y += a x
INKLING_CLONES void add_scaled(float* y, const float* x, float a, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// Lower Cholesky factor in place, by columns of tiles; the upper half is left as it is.
void factor(std::vector<double>& a, int64_t n) {
  for (int64_t begin = 0; begin < n; begin += kTile) {
    const int64_t end = std::min(n, begin + kTile);
    const auto finish_row = [&](int64_t i) {
      double* row = a.data() + i * n;
      for (int64_t j = begin; j < std::min(end, i + 1); ++j) {
        const double* other = a.data() + j * n;
        const double rest = row[j] - dot(row, other, j);
        if (i > j) {
          row[j] = rest / other[j];
          continue;
        }
        if (!(rest > 0)) throw NumericError("second moments of inputs: not positive definite at column {}", n - 1 - i);
        row[j] = std::sqrt(rest);
      }
    };
    for (int64_t i = begin; i < end; ++i) finish_row(i);
    parallel_for(n - end, 4, [&](int64_t from, int64_t to) {
      for (int64_t i = end + from; i < end + to; ++i) finish_row(i);
    });
  }
}

// What a row's codes may be: scale * group_scale * q, lowest <= q <= highest.
struct Grid {
  float lowest, highest;
  int64_t group;       // columns that share a group scale
  int largest_scale;   // of a group: 1 .. this
};
Grid grid_of(LowBit kind, int64_t columns) {
  return kind == LowBit::w4a8 ? Grid{-8.f, 7.f, kInt4Group, 16} : Grid{-127.f, 127.f, columns, 1};
}

float nearest(float value, const Grid& grid) { return std::clamp(std::nearbyint(value), grid.lowest, grid.highest); }

// One row on its way. Codes and scales of the best try are kept.
struct RowState {
  std::vector<float> target, q;     // [columns]
  std::vector<int> group_scale;     // [groups]
  float scale = 1.f;
  double error = std::numeric_limits<double>::infinity();
};

// The step that takes the values of a group to the ends of the grid.
float reach_of(const float* w, int64_t count, const Grid& grid) {
  float up = 0, down = 0;
  for (int64_t i = 0; i < count; ++i) up = std::max(up, w[i]), down = std::max(down, -w[i]);
  return std::max(up / grid.highest, down / -grid.lowest);
}

// Rounds a group's columns one after another. `target`: the values with the feedback of the groups before. -> sum D n^2
double round_group(const float* original, const float* target, const InputFactor& inputs, int64_t begin, int64_t count,
                   float step, const Grid& grid, float* q, float* error, float* work) {
  std::copy_n(target, count, work);
  double sum = 0;
  const float inverse = 1.f / step;
  for (int64_t j = 0; j < count; ++j) {
    q[j] = nearest(work[j] * inverse, grid);
    const float value = step * q[j], n = value - work[j];
    sum += static_cast<double>(inputs.diagonal()[static_cast<size_t>(begin + j)]) * n * n;
    error[j] = value - original[j];
    if (j + 1 < count) add_scaled(work + j + 1, inputs.row(begin + j) + begin + j + 1, -error[j], count - j - 1);
  }
  return sum;
}

// The row scale that makes the output error of the chosen codes smallest, and codes looked at again: each moves to the
// best place while all others stand.
class Refiner {
 public:
  Refiner(const InputFactor& inputs, const Grid& grid) : inputs_(inputs), grid_(grid), k_(inputs.columns()) {}

  // w: [k] original. Updates q and scale.
  void run(const float* w, RowState& row, int sweeps) {
    if (sweeps == 0) return;
    value_.resize(static_cast<size_t>(k_));
    gradient_.assign(static_cast<size_t>(k_), 0.f);
    for (int sweep = 0; sweep < sweeps; ++sweep) {
      fit_scale(w, row);
      for (int64_t c = 0; c < k_; ++c) value_[c] = step(row, c) * row.q[c] - w[c];
      std::ranges::fill(gradient_, 0.f);
      for (int64_t c = 0; c < k_; ++c) add_scaled(gradient_.data(), inputs_.hessian_row(c), value_[c], k_);
      bool moved = false;
      for (int64_t c = 0; c < k_; ++c) {
        const float s = step(row, c), diagonal = inputs_.hessian_row(c)[c];
        const float wanted = row.q[c] - gradient_[c] / (diagonal * s);
        const float q = nearest(wanted, grid_);
        if (q == row.q[c]) continue;
        add_scaled(gradient_.data(), inputs_.hessian_row(c), s * (q - row.q[c]), k_);
        row.q[c] = q;
        moved = true;
      }
      if (!moved) break;
    }
    fit_scale(w, row);
  }

 private:
  float step(const RowState& row, int64_t c) const {
    return row.scale * static_cast<float>(row.group_scale[static_cast<size_t>(c / grid_.group)]);
  }
  void fit_scale(const float* w, RowState& row) {
    std::vector<float> level(static_cast<size_t>(k_)), product(level.size(), 0.f);
    for (int64_t c = 0; c < k_; ++c) level[c] = step(row, c) / row.scale * row.q[c];
    for (int64_t c = 0; c < k_; ++c)
      if (level[c] != 0.f) add_scaled(product.data(), inputs_.hessian_row(c), level[c], k_);
    double along = 0, square = 0;
    for (int64_t c = 0; c < k_; ++c) along += double{product[c]} * w[c], square += double{product[c]} * level[c];
    if (square > 0 && along > 0) row.scale = static_cast<float>(along / square);
  }

  const InputFactor& inputs_;
  const Grid grid_;
  const int64_t k_;
  std::vector<float> value_, gradient_;
};

// All columns of one row with the row scale given.
void round_row(const float* w, const InputFactor& inputs, const Grid& grid, float scale, RowState& best) {
  const int64_t k = inputs.columns(), groups = k / grid.group;
  RowState row;
  row.scale = scale;
  row.q.resize(static_cast<size_t>(k));
  row.target.assign(w, w + k);
  row.group_scale.resize(static_cast<size_t>(groups));
  row.error = 0;
  std::vector<float> q(static_cast<size_t>(grid.group)), error(q.size()), work(q.size()), kept(q.size());
  for (int64_t g = 0; g < groups && row.error < best.error; ++g) {
    const int64_t begin = g * grid.group;
    const float* target = row.target.data() + begin;
    const int middle = grid.largest_scale == 1
                           ? 1
                           : std::clamp(static_cast<int>(std::nearbyint(reach_of(target, grid.group, grid) / scale)), 1,
                                        grid.largest_scale);
    double least = std::numeric_limits<double>::infinity();
    for (int s = std::max(1, middle - 4); s <= std::min(grid.largest_scale, middle + 1); ++s) {
      const double e = round_group(w + begin, target, inputs, begin, grid.group, scale * static_cast<float>(s), grid,
                                   q.data(), error.data(), work.data());
      if (e >= least) continue;
      least = e;
      row.group_scale[static_cast<size_t>(g)] = s;
      std::copy(q.begin(), q.end(), row.q.begin() + begin);
      kept = error;
    }
    row.error += least;
    for (int64_t j = 0; j < grid.group; ++j)
      add_scaled(row.target.data() + begin + grid.group, inputs.row(begin + j) + begin + grid.group, -kept[j],
                 k - begin - grid.group);
  }
  if (row.error < best.error) best = std::move(row);
}

void store(const RowState& row, LowBitMatrix& m, int64_t r, const Grid& grid) {
  const auto k = static_cast<int64_t>(row.q.size());
  m.parts.scale.data<float>()[r] = row.scale;
  if (m.parts.kind == LowBit::w8a8) {
    for (int64_t c = 0; c < k; ++c) m.value.data<int8_t>()[r * k + c] = static_cast<int8_t>(row.q[c]);
    return;
  }
  for (int64_t g = 0; g < k / grid.group; ++g)
    m.parts.group_scale.data<uint8_t>()[r * (k / grid.group) + g] = static_cast<uint8_t>(row.group_scale[g]);
  for (int64_t c = 0; c < k; c += 2)
    m.value.data<uint8_t>()[(r * k + c) / 2] =
        static_cast<uint8_t>(static_cast<int>(row.q[c] + 8.f) | static_cast<int>(row.q[c + 1] + 8.f) << 4);
}

}  // namespace

InputFactor::InputFactor(std::span<const double> second_moments, int64_t columns, double damping)
    : columns_(columns), m_(second_moments.size(), 0.f), d_(static_cast<size_t>(columns)), h_(second_moments.size()) {
  const int64_t n = columns;
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += second_moments[i * n + i] / static_cast<double>(n);
  const double added = mean > 0 ? damping * mean : 1.;
  std::vector<double> a(second_moments.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j) {
      const double v = second_moments[i * n + j] + (i == j ? added : 0.);
      h_[i * n + j] = h_[j * n + i] = static_cast<float>(v);
      a[(n - 1 - i) * n + (n - 1 - j)] = v;  // read from the end: M is upper
    }
  factor(a, n);
  for (int64_t i = 0; i < n; ++i) {
    const double* column = a.data() + (n - 1 - i) * n;
    const double pivot = column[n - 1 - i];
    d_[i] = static_cast<float>(pivot * pivot);
    for (int64_t j = 0; j <= i; ++j) {
      // M[j][i] = L[n-1-j][n-1-i] / L[n-1-i][n-1-i]
      m_[j * n + i] = static_cast<float>(a[(n - 1 - j) * n + (n - 1 - i)] / pivot);
    }
  }
}

void InputFactor::solve(std::span<double> rows) const {
  // y M D M^T = b: z = y M D... first z M^T = b from the last column down, then z / D, then y M = z.
  const int64_t n = columns_, count = static_cast<int64_t>(rows.size()) / n;
  parallel_for(count, 1, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      double* b = rows.data() + r * n;
      // b = z M^T: b_j = sum over i >= j of z_i M[j][i]
      for (int64_t j = n - 1; j >= 0; --j) {
        double s = b[j];
        const float* m = row(j);
        for (int64_t i = j + 1; i < n; ++i) s -= b[i] * m[i];
        b[j] = s;
      }
      for (int64_t j = 0; j < n; ++j) b[j] /= d_[j];
      // z = y M: z_i = sum over j <= i of y_j M[j][i]
      for (int64_t j = 0; j < n; ++j) {
        const float* m = row(j);
        for (int64_t i = j + 1; i < n; ++i) b[i] -= b[j] * m[i];
      }
    }
  });
}

LowBitMatrix round_with_feedback(const Tensor& rows, const InputFactor& inputs, LowBit kind, int64_t rotation,
                                 const std::string& name, int sweeps) {
  const int64_t n = rows.dim(0), k = rows.dim(1);
  if (k != inputs.columns() || (kind != LowBit::w4a8 && kind != LowBit::w8a8) ||
      (kind == LowBit::w4a8 && k % kInt4Group != 0))
    throw RuntimeError("{}: got {} rounded to {} by the moments of {} inputs", name, rows.shape().str(),
                       inkling::name(kind), inputs.columns());
  LowBitMatrix m;
  m.parts.kind = kind;
  m.parts.rotation = rotation;
  m.value = host_tensor(code_shape(kind, rows.shape()), code_type(kind));
  m.parts.scale = host_tensor(Shape{n});
  const Grid grid = grid_of(kind, k);
  if (kind == LowBit::w4a8) m.parts.group_scale = host_tensor(Shape{n, k / kInt4Group}, DType::u8);
  parallel_for(n, 1, [&](int64_t from, int64_t to) {
    Refiner refiner(inputs, grid);
    for (int64_t r = from; r < to; ++r) {
      const float* w = rows.data<float>() + r * k;
      const float reach = [&] {
        float most = 0;
        for (int64_t g = 0; g < k / grid.group; ++g)
          most = std::max(most, reach_of(w + g * grid.group, grid.group, grid));
        return most;
      }();
      RowState best;
      if (reach < kZeroRow) {
        best.q.assign(static_cast<size_t>(k), 0.f);
        best.group_scale.assign(static_cast<size_t>(k / grid.group), 1);
        store(best, m, r, grid);
        continue;
      }
      static const bool many = getenv("MANY") != nullptr;
      for (const float step : many ? std::vector<float>{14.f, 16.f, 18.f, 20.f} : std::vector<float>{17.f})
        round_row(w, inputs, grid, grid.largest_scale == 1 ? reach : reach / step, best);
      refiner.run(w, best, sweeps);
      store(best, m, r, grid);
    }
  });
  return m;
}

double output_error(const Tensor& a, const Tensor& b, const InputFactor& inputs) {
  const int64_t n = a.dim(0), k = a.dim(1);
  std::vector<double> sums(static_cast<size_t>(n));
  parallel_for(n, 1, [&](int64_t from, int64_t to) {
    std::vector<float> e(static_cast<size_t>(k)), product(e.size());
    for (int64_t r = from; r < to; ++r) {
      for (int64_t c = 0; c < k; ++c) e[c] = a.data<float>()[r * k + c] - b.data<float>()[r * k + c];
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += double{e[c]} * dot_f(e.data(), inputs.hessian_row(c), k);
      sums[r] = sum;
    }
  });
  double total = 0;
  for (const double s : sums) total += s;
  return total;
}

}  // namespace inkling
