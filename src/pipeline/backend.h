// The one place that knows which backends there are: opens a device, and says what a plan needs to know of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ops/backend_model.h"
#include "ops/ceiling.h"
#include "ops/ops.h"
#include "tensor/storage.h"

namespace inkling {

struct CpuOptions;

// What matrices are stored and multiplied in. CPU: f32, bf16. GPU: all but f32.
enum class PrecisionChoice {
  automatic,
  f32,
  bf16,
  fp8,     // 8-bit floats (Hopper GPUs)
  w8a8,    // int8 weights and activations
  w4a8,    // 4-bit weights, int8 activations
  stored,  // low-bit weights as the file has them, unpacked for each product
};
std::string_view name(PrecisionChoice choice);

struct DeviceChoice {
  enum class Kind { automatic, cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;
  int64_t max_vram = 0;            // bytes of the whole process on each GPU; 0: what is free
  int injected_failures = 0;       // tests: the first runs find the GPU's memory exhausted
  std::vector<DeviceChoice> more;  // devices that share the work with this one (team.h)
};
// "auto", "cpu", "cuda" or "cuda:1"; several: "cuda:0,1", or "cpu,cpu", which gains nothing and is for trying out.
// Throws ArgumentError.
DeviceChoice parse_device(const std::string& text);

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;  // "cpu", "cuda:0 NVIDIA ..."
  // Before this backend is used by another thread, or by one that used another backend last.
  virtual void activate() const {}
  virtual bool on_gpu() const { return false; }
  virtual PrecisionChoice precision() const = 0;
  // Before any weight is prepared; GPUs only.
  virtual void set_precision(PrecisionChoice) {}
  // Tests: the next `count` allocations on the GPU fail.
  virtual void inject_failures(int) {}
  virtual Ops& ops() = 0;                                      // opened when first asked for
  virtual const BackendModel& model() const = 0;               // needs no open device
  virtual std::unique_ptr<Allocator> plan_memory() const = 0;  // as the backend's own, without memory
  virtual int64_t budget() const { return 0; }                 // for weights and activations; 0: the host's memory
  virtual int64_t device_overhead() const { return 0; }        // of the GPU, beside the budget: CUDA's own
  virtual int64_t device_bytes() const { return 0; }           // of the GPU, all in all
  // Benchmarks. What the device can do at most; and from now on prepare() fills weights without a value with random
  // numbers, where the backend can (false: it cannot, they need values).
  virtual Ceilings measure_ceilings() = 0;
  virtual bool fill_missing_weights() { return false; }
};

// Throws ArgumentError for a precision that the device has not, RuntimeError where there is no such device.
std::unique_ptr<Backend> open_backend(const DeviceChoice& device, PrecisionChoice precision);
// The same for plans: where there is no GPU, a GPU of the Ampere generation is assumed.
std::unique_ptr<Backend> planning_backend(const DeviceChoice& device, PrecisionChoice precision);
// GPUs that this build can use on this machine.
int gpu_count();
// How the CPU backend computes for this choice on this machine.
CpuOptions cpu_options(PrecisionChoice choice);

}  // namespace inkling
