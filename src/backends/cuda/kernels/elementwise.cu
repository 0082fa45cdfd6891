// Elementwise arithmetic. One kernel for all: a functor names the operands and the formula.
#include "backends/cuda/kernels/rows.h"
#include "backends/cuda/kernels/rows_device.cuh"
#include "backends/cuda/kernels/rows_error.h"

namespace inkling::cuda {

namespace {

constexpr int kThreads = 256, kUnroll = 4;

// An operand: V elements at a time of a type known when compiled, or single ones of any type (V = 1).
template <typename T, int V>
struct Operand {
  const T* p;
  using Loaded = Raw<T, V>;
  __device__ Loaded at(int64_t i) const { return load<T, V>(p + i); }
};
struct Single {
  float v;
  __device__ void get(float* x) const { x[0] = v; }
};
template <>
struct Operand<void, 1> {
  const void* p;
  Elem type;
  using Loaded = Single;
  __device__ Loaded at(int64_t i) const { return {load_any(p, type, i)}; }
};
// No operand.
template <int V>
struct Nothing {
  struct Loaded {
    __device__ void get(float*) const {}
  };
  __device__ Loaded at(int64_t) const { return {}; }
};
// Row of a table, or a bias (one row). Null: zeros.
template <int V>
struct Columns {
  const float* p = nullptr;
  struct Loaded {
    float v[V];
    __device__ void get(float* x) const {
#pragma unroll
      for (int i = 0; i < V; ++i) x[i] = v[i];
    }
  };
  __device__ Loaded at(int64_t i) const {
    Loaded r;
    if constexpr (V == 1) {
      r.v[0] = p[i];
    } else {
#pragma unroll
      for (int k = 0; k < V; k += 4) load<float, 4>(p + i + k).get(r.v + k);
    }
    return r;
  }
};
template <typename T, int V>
struct Result {
  T* p;
  __device__ void put(int64_t i, const float* x) const { store<V>(p + i, x); }
};
template <>
struct Result<void, 1> {
  void* p;
  Elem type;
  __device__ void put(int64_t i, const float* x) const { store_any(p, type, i, x[0]); }
};

// Elements that a column of tables belongs to: row-major [m, d], tables [G, d].
struct Grid {
  int64_t elements = 0;
  int d = 1;  // of tables; unused without
  RowTable groups;
};

template <int V, class F, class A, class B, class S, class T, class Y>
__global__ void __launch_bounds__(kThreads)
    map_kernel(const F f, const A a, const B b, const S s, const T t, const Y y, const __grid_constant__ Grid grid) {
  constexpr bool kTables = F::kTables;
  const int64_t first = (int64_t{blockIdx.x} * kThreads * kUnroll + threadIdx.x) * V;
  typename A::Loaded va[kUnroll];
  typename B::Loaded vb[kUnroll];
  typename S::Loaded vs[kUnroll];
  typename T::Loaded vt[kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t i = first + int64_t{u} * kThreads * V;
    if (i >= grid.elements) break;
    va[u] = a.at(i);
    vb[u] = b.at(i);
    if constexpr (kTables) {
      const int64_t row =
          grid.elements <= 0xffffffff ? static_cast<uint32_t>(i) / static_cast<uint32_t>(grid.d) : i / grid.d;
      const int64_t column = i - row * grid.d + int64_t{table_row(grid.groups, row)} * grid.d;
      vs[u] = s.at(column);
      vt[u] = t.at(column);
    }
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t i = first + int64_t{u} * kThreads * V;
    if (i >= grid.elements) break;
    float xa[V], xb[V], xs[V], xt[V], out[V];
    va[u].get(xa);
    vb[u].get(xb);
    vs[u].get(xs);
    vt[u].get(xt);
#pragma unroll
    for (int k = 0; k < V; ++k) out[k] = f(xa[k], xb[k], xs[k], xt[k]);
    y.put(i, out);
  }
}

struct Modulate {
  static constexpr bool kTables = true;
  __device__ float operator()(float x, float, float scale, float shift) const { return fmaf(x, scale, x) + shift; }
};
struct GatedAdd {
  static constexpr bool kTables = true;
  __device__ float operator()(float residual, float x, float gate, float) const { return fmaf(gate, x, residual); }
};
struct Add {
  static constexpr bool kTables = false;
  __device__ float operator()(float a, float b, float, float) const { return a + b; }
};
struct Multiply {
  static constexpr bool kTables = false;
  __device__ float operator()(float a, float b, float, float) const { return a * b; }
};
struct SiluMultiply {
  static constexpr bool kTables = false;
  __device__ float operator()(float gate, float up, float, float) const { return activated<Act::silu>(gate) * up; }
};
struct Axpby {
  static constexpr bool kTables = false;
  float a, b;
  __device__ float operator()(float x, float z, float, float) const { return fmaf(a, x, b * z); }
};
template <bool kBias>
struct Activate {
  static constexpr bool kTables = kBias;
  Act act;
  __device__ float operator()(float x, float, float bias, float) const {
    float v[1] = {kBias ? x + bias : x};
    activate_all(act, v);
    return v[0];
  }
};

// Runs f on operands whose types are known at run time. kBinary: b is one. kTables: s, perhaps t. Vectors where sizes
// and addresses allow it; what is left at the end of a flat operand goes one by one.
struct Call {
  const void *a = nullptr, *b = nullptr;
  Elem a_type = Elem::f32, b_type = Elem::f32, y_type = Elem::f32;
  const float *s = nullptr, *t = nullptr;
  void* y = nullptr;
  Grid grid;
};

template <int V, bool kTwoTables, class F, class A, class B, class Y>
void launch_map(const F& f, const A& a, const B& b, const Y& y, const Call& c, cudaStream_t stream) {
  constexpr int64_t kBlock = int64_t{kThreads} * kUnroll * V;
  const auto blocks = static_cast<unsigned>((c.grid.elements + kBlock - 1) / kBlock);
  if constexpr (!F::kTables)
    map_kernel<V><<<blocks, kThreads, 0, stream>>>(f, a, b, Nothing<V>(), Nothing<V>(), y, c.grid);
  else if constexpr (kTwoTables)
    map_kernel<V><<<blocks, kThreads, 0, stream>>>(f, a, b, Columns<V>{c.s}, Columns<V>{c.t}, y, c.grid);
  else
    map_kernel<V><<<blocks, kThreads, 0, stream>>>(f, a, b, Columns<V>{c.s}, Nothing<V>(), y, c.grid);
}

template <class F, bool kBinary, bool kTwoTables, typename A, typename B, typename Y>
void launch_types(const F& f, const Call& c, cudaStream_t stream) {
  constexpr int V = sizeof(A) == 2 && sizeof(Y) == 2 && (!kBinary || sizeof(B) == 2) ? 8 : 4;
  const Operand<A, V> a{static_cast<const A*>(c.a)};
  const Result<Y, V> y{static_cast<Y*>(c.y)};
  if constexpr (kBinary)
    launch_map<V, kTwoTables>(f, a, Operand<B, V>{static_cast<const B*>(c.b)}, y, c, stream);
  else
    launch_map<V, kTwoTables>(f, a, Nothing<V>(), y, c, stream);
}

template <class F, bool kBinary, bool kTwoTables>
void launch_singles(const F& f, const Call& c, cudaStream_t stream) {
  const Operand<void, 1> a{c.a, c.a_type};
  const Result<void, 1> y{c.y, c.y_type};
  if constexpr (kBinary)
    launch_map<1, kTwoTables>(f, a, Operand<void, 1>{c.b, c.b_type}, y, c, stream);
  else
    launch_map<1, kTwoTables>(f, a, Nothing<1>(), y, c, stream);
}

void* advance(const void* p, Elem type, int64_t elements) {
  return p == nullptr ? nullptr : const_cast<char*>(static_cast<const char*>(p)) + elements * size_of(type);
}

template <class F, bool kBinary, bool kTwoTables>
void map(const char* name, const F& f, Call c, cudaStream_t stream) {
  for (Elem type : {c.a_type, c.b_type, c.y_type})
    if (type != Elem::f32 && type != Elem::bf16) reject(name, "got an 8-bit operand, expected f32 or bf16");
  const int64_t all = c.grid.elements;
  if (all == 0) return;
  const bool places = aligned(c.a, 16) && aligned(c.b, 16) && aligned(c.y, 16) && aligned(c.s, 16) && aligned(c.t, 16);
  const int64_t vectors = !places ? 0 : F::kTables ? (c.grid.d % 8 == 0 ? all : 0) : all / 8 * 8;
  if (vectors > 0) {
    c.grid.elements = vectors;
    const bool a = c.a_type == Elem::bf16, b = kBinary && c.b_type == Elem::bf16, y = c.y_type == Elem::bf16;
    const auto with_b = [&]<typename A, typename Y>() {
      if constexpr (kBinary)
        b ? launch_types<F, true, kTwoTables, A, bf16, Y>(f, c, stream)
          : launch_types<F, true, kTwoTables, A, float, Y>(f, c, stream);
      else
        launch_types<F, false, kTwoTables, A, A, Y>(f, c, stream);
    };
    if (a)
      y ? with_b.template operator()<bf16, bf16>() : with_b.template operator()<bf16, float>();
    else
      y ? with_b.template operator()<float, bf16>() : with_b.template operator()<float, float>();
  }
  if (vectors < all) {
    c.a = advance(c.a, c.a_type, vectors);
    c.b = advance(c.b, c.b_type, vectors);
    c.y = advance(c.y, c.y_type, vectors);
    c.grid.elements = all - vectors;
    launch_singles<F, kBinary, kTwoTables>(f, c, stream);
  }
  check_launch(name);
}

Call unary(const void* x, Elem type, void* y, Elem y_type, int64_t elements) {
  Call c;
  c.a = x, c.a_type = type, c.y = y, c.y_type = y_type, c.grid.elements = elements;
  return c;
}
Call binary(const void* a, Elem a_type, const void* b, Elem b_type, void* y, Elem y_type, int64_t elements) {
  Call c = unary(a, a_type, y, y_type, elements);
  c.b = b, c.b_type = b_type;
  return c;
}

}  // namespace

void modulate(const void* x, Elem type, int64_t m, int64_t d, const float* scale, const float* shift,
              const RowTable& groups, void* y, Elem y_type, cudaStream_t stream) {
  Call c = unary(x, type, y, y_type, m * d);
  c.s = scale, c.t = shift, c.grid.d = static_cast<int>(d), c.grid.groups = groups;
  map<Modulate, false, true>("modulate", {}, c, stream);
}

void gated_add(const void* residual, Elem residual_type, const void* x, Elem type, const float* gate,
               const RowTable& groups, int64_t m, int64_t d, void* y, Elem y_type, cudaStream_t stream) {
  Call c = binary(residual, residual_type, x, type, y, y_type, m * d);
  if (gate == nullptr) return map<Add, true, false>("gated_add", {}, c, stream);
  c.s = gate, c.grid.d = static_cast<int>(d), c.grid.groups = groups;
  map<GatedAdd, true, false>("gated_add", {}, c, stream);
}

void activate(const void* x, Elem type, const float* bias, Act act, int64_t m, int64_t d, void* y, Elem y_type,
              cudaStream_t stream) {
  Call c = unary(x, type, y, y_type, m * d);
  if (bias == nullptr) return map<Activate<false>, false, false>("activate", {act}, c, stream);
  c.s = bias, c.grid.d = static_cast<int>(d);
  map<Activate<true>, false, false>("activate", {act}, c, stream);
}

void multiply(const void* a, Elem a_type, const void* b, Elem b_type, int64_t elements, void* y, Elem y_type,
              cudaStream_t stream) {
  map<Multiply, true, false>("multiply", {}, binary(a, a_type, b, b_type, y, y_type, elements), stream);
}

void silu_multiply(const void* gate, const void* up, Elem type, int64_t elements, void* y, Elem y_type,
                   cudaStream_t stream) {
  map<SiluMultiply, true, false>("silu_multiply", {}, binary(gate, type, up, type, y, y_type, elements), stream);
}

void axpby(float a, const void* x, Elem x_type, float b, const void* z, Elem z_type, int64_t elements, void* y,
           Elem y_type, cudaStream_t stream) {
  map<Axpby, true, false>("axpby", {a, b}, binary(x, x_type, z, z_type, y, y_type, elements), stream);
}

}  // namespace inkling::cuda
