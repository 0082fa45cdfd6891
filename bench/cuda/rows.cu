// Row kernels and unpacking: microseconds, and bandwidth as a share of a device-to-device copy of as many bytes, and of
// a large one. Buffers rotate, so that the L2 cache holds nothing of the next call's input.
//   bench_cuda_rows [filter [once]]    lines whose name contains the filter; one call each, for a profiler
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backends/cuda/kernels/rows.h"
#include "backends/cuda/kernels/unpack.h"

namespace inkling::cuda {
namespace {

constexpr int64_t kArena = int64_t{3} << 30;
char* arena = nullptr;
std::string filter;
bool once = false;
cudaStream_t stream = nullptr;
double large_copy = 0;  // bytes per second, read and written

// Median time of a call, over graphs of calls on rotating buffers: launching costs the host nothing.
double seconds(int64_t sets, const std::function<void(int64_t set)>& call) {
  constexpr int kCalls = 24;
  if (once) return call(0), 1.0;
  cudaGraph_t graph;
  cudaGraphExec_t batch;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "bench");
  for (int i = 0; i < kCalls; ++i) call(i % sets);
  check(cudaStreamEndCapture(stream, &graph), "bench");
  check(cudaGraphInstantiate(&batch, graph, 0), "bench");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "bench");
  check(cudaEventCreate(&end), "bench");
  std::vector<double> times;
  for (int i = 0; i < 23; ++i) {
    check(cudaEventRecord(begin, stream), "bench");
    check(cudaGraphLaunch(batch, stream), "bench");
    check(cudaEventRecord(end, stream), "bench");
    check(cudaEventSynchronize(end), "bench");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "bench");
    if (i >= 3) times.push_back(milliseconds * 1e-3 / kCalls);
  }
  check(cudaEventDestroy(begin), "bench");
  check(cudaEventDestroy(end), "bench");
  check(cudaGraphExecDestroy(batch), "bench");
  check(cudaGraphDestroy(graph), "bench");
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

// in and out: bytes that a call reads and writes; call gets their places.
void report(const std::string& name, int64_t in, int64_t out, const std::function<void(char* x, char* y)>& call) {
  if (name.find(filter) == std::string::npos) return;
  const int64_t in_room = (in + 255) / 256 * 256, room = in_room + (out + 255) / 256 * 256;
  const int64_t sets = std::clamp<int64_t>(kArena / room, 1, std::max<int64_t>(2, 600'000'000 / room));
  if (once) std::printf("%s\n", name.c_str());
  const double time = seconds(sets, [&](int64_t s) { call(arena + s * room, arena + s * room + in_room); });
  if (once) return;
  const int64_t half = (in + out) / 2 / 16 * 16;
  const double copy = seconds(sets, [&](int64_t s) {
    check(cudaMemcpyAsync(arena + s * room + half, arena + s * room, half, cudaMemcpyDeviceToDevice, stream), "bench");
  });
  const double rate = static_cast<double>(in + out) / time;
  std::printf("%-60s %8.2f us %6.0f GB/s %6.1f %% of equal copy %6.1f %% of large\n", name.c_str(), time * 1e6,
              rate * 1e-9, 100 * copy / time, 100 * rate / large_copy);
  std::fflush(stdout);
}

const char* label(Elem e) {
  static constexpr const char* kNames[] = {"f32", "bf16", "i8", "e4m3"};
  return kNames[static_cast<int>(e)];
}
std::string sized(int64_t m, int64_t d) {
  return std::string(" ").append(std::to_string(m)).append("x").append(std::to_string(d));
}

void bench_rows(float* tables, float* scale, int32_t* sum) {
  for (int64_t m : {1088, 4160, 8448}) {
    const int64_t d = 3072;
    for (auto [out, rotation] :
         {std::pair<Elem, int64_t>{Elem::bf16, 0}, {Elem::i8, 0}, {Elem::i8, 256}, {Elem::e4m3, 0}}) {
      report(std::string("layer_norm f32 -> ") + label(out) + (rotation ? " rotated" : "") + sized(m, d), m * d * 4,
             m * d * size_of(out), [&](char* x, char* y) {
               layer_norm(x, Elem::f32, m, d, 1e-6f, tables, tables + d, {}, {y, out, scale, sum, rotation}, stream);
             });
    }
    for (int64_t columns : {3072, 12288}) {
      for (auto [out, rotation] : {std::pair<Elem, int64_t>{Elem::i8, 0}, {Elem::i8, 256}, {Elem::e4m3, 0}}) {
        for (Act act : {Act::none, Act::gelu_tanh}) {
          report(std::string("convert bf16 -> ") + label(out) + (rotation ? " rotated" : "") +
                     (act == Act::none ? "" : " gelu") + sized(m, columns),
                 m * columns * 2, m * columns, [&](char* x, char* y) {
                   convert_rows(x, Elem::bf16, columns, m, columns, act, {y, out, scale, sum, rotation}, stream);
                 });
        }
      }
    }
  }
  report("rms_norm f32 -> bf16 300x3584", 300 * 3584 * 4, 300 * 3584 * 2, [&](char* x, char* y) {
    rms_norm(x, Elem::f32, 300, 3584, tables, 1e-6f, {y, Elem::bf16}, stream);
  });
}

void bench_elementwise(float* tables) {
  for (int64_t m : {1088, 4160, 8448}) {
    const int64_t d = 3072, n = m * d;
    report("head_norm_rope bf16 24x128" + sized(m, d), n * 2 + m * 128 * 4, n * 2, [&](char* x, char* y) {
      float* cos = reinterpret_cast<float*>(x + n * 2);
      head_norm_rope(x, Elem::bf16, m, 24, 128, tables, 1e-6f, cos, cos + m * 64, true, y, stream);
    });
    report("head_norm_rope bf16 24x128 in place" + sized(m, d), n * 2 + m * 128 * 4, n * 2, [&](char* x, char*) {
      float* cos = reinterpret_cast<float*>(x + n * 2);
      head_norm_rope(x, Elem::bf16, m, 24, 128, tables, 1e-6f, cos, cos + m * 64, true, x, stream);
    });
    report("gated_add f32 + bf16 -> f32" + sized(m, d), n * 6, n * 4, [&](char* x, char* y) {
      gated_add(x, Elem::f32, x + n * 4, Elem::bf16, tables, {}, m, d, y, Elem::f32, stream);
    });
    report("gated_add f32 + bf16 -> f32 in place" + sized(m, d), n * 6, n * 4, [&](char* x, char*) {
      gated_add(x, Elem::f32, x + n * 4, Elem::bf16, tables, {}, m, d, x, Elem::f32, stream);
    });
    report("modulate f32 -> bf16" + sized(m, d), n * 4, n * 2,
           [&](char* x, char* y) { modulate(x, Elem::f32, m, d, tables, tables + d, {}, y, Elem::bf16, stream); });
    report("activate gelu_tanh bf16" + sized(m, 4 * d), n * 8, n * 8, [&](char* x, char* y) {
      activate(x, Elem::bf16, nullptr, Act::gelu_tanh, m, 4 * d, y, Elem::bf16, stream);
    });
    report("slice_columns bf16 of 9216" + sized(m, d), n * 2, n * 2, [&](char* x, char* y) {
      slice_columns(x, 9216, 3072, d, m / 3, 2, y, stream);
      slice_columns(x, 9216, 3072, d, m - m / 3 - m / 3, 2, y, stream);
      slice_columns(x, 9216, 0, d, m / 3, 2, y, stream);
    });
  }
  const int64_t n = 300 * 18944;
  report("silu_multiply bf16 300x18944", n * 4, n * 2,
         [&](char* x, char* y) { silu_multiply(x, x + n * 2, Elem::bf16, n, y, Elem::bf16, stream); });
  report("axpby f32 64M", 64 << 23, 64 << 22, [&](char* x, char* y) {
    axpby(1.f, x, Elem::f32, .5f, x + (64 << 22), Elem::f32, 64 << 20, y, Elem::f32, stream);
  });
  report("guide f32 4096x64", 4096 * 64 * 8, 4096 * 64 * 4, [&](char* x, char* y) {
    guide(reinterpret_cast<float*>(x), reinterpret_cast<float*>(x) + 4096 * 64, 4.f, 4096, 64,
          reinterpret_cast<float*>(y), stream);
  });
  report("count_nonfinite 16M", 64 << 20, 0, [&](char* x, char*) {
    count_nonfinite(reinterpret_cast<float*>(x), 16 << 20, reinterpret_cast<int32_t*>(tables), stream);
  });
  for (auto [pixels, c] : {std::pair<int64_t, int64_t>{1 << 20, 96},
                           {1 << 18, 192},
                           {1 << 18, 384},
                           {1 << 16, 384},
                           {1 << 18, 24},
                           {1 << 18, 48}}) {
    const int64_t bytes = pixels * c * 2;
    for (bool silu : {false, true})
      report(std::string("channel_norm bf16") + (silu ? " silu" : "") + sized(pixels, c), bytes, bytes,
             [&](char* x, char* y) { channel_norm(x, Elem::bf16, pixels, c, tables, silu, y, stream); });
  }
  report("upsample2x bf16 512x512x192", 512 * 512 * 192 * 2, 512 * 512 * 192 * 8,
         [&](char* x, char* y) { upsample2x(x, 512, 512, 192, 2, y, stream); });
}

void bench_unpack(float* tables) {
  const int64_t rows = 12288, columns = 3072, n = rows * columns;
  for (DType type : {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::q2_k, DType::q3_k,
                     DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs, DType::f8_e4m3,
                     DType::f8_e5m2, DType::f16, DType::f32}) {
    report("unpack " + std::string(name(type)) + " -> bf16", rows * row_bytes(type, columns), n * 2,
           [&](char* x, char* y) { unpack_rows(type, x, rows, columns, y, Elem::bf16, stream); });
  }
  report("unpack q4_k -> f32", rows * row_bytes(DType::q4_k, columns), n * 4,
         [&](char* x, char* y) { unpack_rows(DType::q4_k, x, rows, columns, y, Elem::f32, stream); });
  report("unpack nf4 -> bf16", n / 2 + n / 16, n * 2, [&](char* x, char* y) {
    unpack_nf4(reinterpret_cast<uint8_t*>(x), reinterpret_cast<float*>(x + n / 2), n, y, Elem::bf16, stream);
  });
  report("unpack nf4 nested -> bf16", n / 2 + n / 64 + n / 4096, n * 2, [&](char* x, char* y) {
    auto* codes = reinterpret_cast<uint8_t*>(x);
    unpack_nf4_nested(codes, codes + n / 2, tables, reinterpret_cast<float*>(x + n / 2 + n / 64), 0.f, n, y, Elem::bf16,
                      stream);
  });
  report("random_rows f32 64M", 0, 256 << 20,
         [&](char*, char* y) { random_rows(1, 1.f, 64 << 20, y, Elem::f32, stream); });
  report("random_rows bf16 64M", 0, 128 << 20,
         [&](char*, char* y) { random_rows(1, 1.f, 64 << 20, y, Elem::bf16, stream); });
}

int run(int argc, char** argv) {
  filter = argc > 1 ? argv[1] : "";
  once = argc > 2;
  check(cudaStreamCreate(&stream), "bench");
  check(cudaMalloc(&arena, kArena), "bench");
  random_rows(1, 1.f, kArena / 4, arena, Elem::f32, stream);
  float *tables = nullptr, *scale = nullptr;
  int32_t* sum = nullptr;
  check(cudaMalloc(&tables, 1 << 20), "bench");
  check(cudaMalloc(&scale, 1 << 20), "bench");
  check(cudaMalloc(&sum, 1 << 20), "bench");
  random_rows(2, 1.f, 1 << 18, tables, Elem::f32, stream);
  constexpr int64_t kLarge = 1 << 29;
  const auto copy_large = [](int64_t) {
    check(cudaMemcpyAsync(arena + kLarge, arena, kLarge, cudaMemcpyDeviceToDevice, stream), "bench");
  };
  seconds(1, copy_large);  // clocks rise
  const double copy = seconds(1, copy_large);
  large_copy = 2.0 * kLarge / copy;
  std::printf("copy of 0.5 GiB: %.0f GB/s read and written\n", large_copy * 1e-9);
  bench_rows(tables, scale, sum);
  bench_elementwise(tables);
  bench_unpack(tables);
  check(cudaDeviceSynchronize(), "bench");
  return 0;
}

}  // namespace
}  // namespace inkling::cuda

int main(int argc, char** argv) { return inkling::cuda::run(argc, argv); }
