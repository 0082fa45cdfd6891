// What every kernel launcher of this folder shares. Launchers take raw device pointers and sizes, enqueue on one
// stream, allocate nothing and wait for nothing; CudaOps checks operands and owns memory. A launcher throws
// RuntimeError for sizes that it cannot serve and for launch errors.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace inkling::cuda {

// Element types of activations on the device.
enum class Elem : uint8_t { f32, bf16, i8, e4m3 };
constexpr int64_t size_of(Elem e) { return e == Elem::f32 ? 4 : e == Elem::bf16 ? 2 : 1; }

enum class Act : uint8_t { none, gelu_tanh, gelu_erf, silu, quick_gelu };

// Rows [end[i-1], end[i]) of an activation use row table_row[i] of a modulation table; passed to kernels by value.
struct RowTable {
  static constexpr int kMax = 16;
  int count = 1;
  int end[kMax] = {0x7fffffff};
  int table_row[kMax] = {0};
};

// Throws on failure: MemoryError for an exhausted device, else RuntimeError naming `what`.
void check(cudaError_t status, const char* what);
// check(cudaGetLastError()), after a launch.
void check_launch(const char* kernel);

// Properties that launchers choose by; read once per device.
struct Device {
  int index = 0, sm = 0;  // sm: 80, 86, 89, 90, 120
  int multiprocessors = 0;
  int64_t l2_bytes = 0, shared_per_block = 0;  // shared_per_block: opt-in limit
};
const Device& device();  // the current one
// For plans on a machine without a GPU: what device() says from now on.
void assume_device(const Device& device);

}  // namespace inkling::cuda
