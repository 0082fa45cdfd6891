#include "pipeline/backend.h"

#include <charconv>

#include "backends/cpu/ceiling.h"
#include "backends/cpu/cpu_ops.h"
#include "base/error.h"
#ifdef INKLING_CUDA
#include "backends/cuda/ceiling.h"
#include "backends/cuda/cuda_ops.h"
#endif

namespace inkling {

std::string_view name(PrecisionChoice choice) {
  switch (choice) {
    case PrecisionChoice::automatic: return "auto";
    case PrecisionChoice::f32: return "f32";
    case PrecisionChoice::bf16: return "bf16";
    case PrecisionChoice::fp8: return "fp8";
    case PrecisionChoice::w8a8: return "w8a8";
    case PrecisionChoice::w4a8: return "w4a8";
    case PrecisionChoice::stored: return "stored";
  }
  return "";
}

namespace {

DeviceChoice parse_one_device(const std::string& text) {
  DeviceChoice d;
  if (text == "auto" || text.empty()) {
    d.kind = DeviceChoice::Kind::automatic;
  } else if (text == "cpu") {
    d.kind = DeviceChoice::Kind::cpu;
  } else {
    d.kind = DeviceChoice::Kind::cuda;
    const char* begin = text.c_str() + std::min<size_t>(text.size(), 5);
    const auto [end, error] = std::from_chars(begin, text.c_str() + text.size(), d.index);
    const bool numbered = text.starts_with("cuda:") && error == std::errc() && *end == '\0' && d.index >= 0;
    if (text != "cuda" && !numbered)
      throw ArgumentError("device: got '{}', expected auto, cpu, cuda, cuda:N or cuda:N,M", text.substr(0, 64));
  }
  return d;
}

}  // namespace

DeviceChoice parse_device(const std::string& text) {
  std::vector<DeviceChoice> devices;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string one = text.substr(begin, end - begin);
    if (begin > 0 && (one.empty() || one == "auto")) throw ArgumentError("device: '{}' ends in nothing", text);
    // "cuda:0,1": the kind need not be repeated.
    if (!devices.empty() && one.find_first_not_of("0123456789") == std::string::npos) one.insert(0, "cuda:");
    DeviceChoice d = parse_one_device(one);
    for (const DeviceChoice& other : devices) {
      if (d.kind != other.kind) throw ArgumentError("device: '{}' mixes kinds of devices", text.substr(0, 64));
      if (d.kind == DeviceChoice::Kind::cuda && d.index == other.index)
        throw ArgumentError("device: '{}' names cuda:{} twice", text.substr(0, 64), d.index);
    }
    devices.push_back(std::move(d));
    begin = end + 1;
  }
  DeviceChoice first = devices.front();
  first.more.assign(devices.begin() + 1, devices.end());
  return first;
}

// bf16 halves memory and is faster where the CPU has it; a machine without gets the exact path.
CpuOptions cpu_options(PrecisionChoice choice) {
  if (choice == PrecisionChoice::fp8)
    throw ArgumentError("precision: got {}, expected auto, f32, bf16, w8a8 or w4a8 on the CPU", name(choice));
  if (choice == PrecisionChoice::w8a8) return {Precision::w8a8};
  if (choice == PrecisionChoice::w4a8) return {Precision::w4a8};
  const bool native = __builtin_cpu_supports("avx512bf16") != 0;
  const bool bf16 = choice == PrecisionChoice::bf16 || (choice != PrecisionChoice::f32 && native);
  CpuOptions options{bf16 ? Precision::bf16 : Precision::f32};
  options.stored_integers = choice != PrecisionChoice::f32;
  return options;
}

namespace {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(PrecisionChoice precision) : options_(cpu_options(precision)), ops_(options_) {}
  std::string name() const override { return "cpu"; }
  PrecisionChoice precision() const override {
    switch (options_.precision) {
      case Precision::f32: return PrecisionChoice::f32;
      case Precision::bf16: return PrecisionChoice::bf16;
      case Precision::w8a8: return PrecisionChoice::w8a8;
      case Precision::w4a8: return PrecisionChoice::w4a8;
    }
    return PrecisionChoice::automatic;
  }
  Ops& ops() override { return ops_; }
  const BackendModel& model() const override { return ops_.model(); }
  std::unique_ptr<Allocator> plan_memory() const override {
    return std::make_unique<CountingAllocator>(/*virtual_memory=*/true);
  }
  Ceilings measure_ceilings() override { return measure_cpu_ceilings(kernels::best_int8_isa()); }

 private:
  CpuOptions options_;
  CpuOps ops_;
};

#ifdef INKLING_CUDA

// Below this budget cublasLt and cuDNN take more memory than they are worth.
constexpr int64_t kLibraryBudget = int64_t{24} << 30;

// An RTX 3060, for plans on a machine without a GPU.
constexpr cuda::Device kTypicalGpu{0, 86, 28, int64_t{3} << 20, int64_t{99} << 10};

CudaPrecision cuda_precision(PrecisionChoice choice) {
  switch (choice) {
    case PrecisionChoice::f32:
      throw ArgumentError("precision: got f32, expected auto, bf16, fp8, w8a8, w4a8 or stored on a GPU");
    case PrecisionChoice::bf16: return CudaPrecision::bf16;
    case PrecisionChoice::fp8: return CudaPrecision::fp8;
    case PrecisionChoice::w8a8: return CudaPrecision::w8a8;
    case PrecisionChoice::w4a8: return CudaPrecision::w4a8;
    default: return CudaPrecision::stored;
  }
}

class CudaBackend : public Backend {
 public:
  CudaBackend(const DeviceChoice& choice, PrecisionChoice precision, bool open)
      : libraries_(choice.max_vram == 0 || choice.max_vram >= kLibraryBudget), budget_(choice.max_vram) {
    if (open) {
      context_ = std::make_shared<CudaContext>(choice.index, choice.max_vram, libraries_);
      budget_ = context_->arena().capacity();
      name_ = fmt::format("cuda:{} {}", choice.index, cuda_device_name(choice.index));
    } else {
      libraries_ = false;
      name_ = "cuda (planned)";
    }
    CudaBackend::set_precision(precision);
  }

  std::string name() const override { return name_; }
  bool on_gpu() const override { return true; }
  void activate() const override {
    if (context_) context_->activate();
  }
  PrecisionChoice precision() const override { return precision_; }
  void set_precision(PrecisionChoice precision) override {
    CudaOptions options;
    options.precision = cuda_precision(precision);
    options.libraries = libraries_;
    options.int8_attention = precision == PrecisionChoice::w8a8 || precision == PrecisionChoice::w4a8;
    precision_ = precision;
    if (context_) {
      ops_.reset();
      ops_ = std::make_unique<CudaOps>(context_, options);
      return;
    }
    if (cuda_device_count() == 0) cuda::assume_device(kTypicalGpu);
    model_ = std::make_unique<CudaModel>(options, cuda::device());
  }
  Ceilings measure_ceilings() override {
    ops();  // throws where there is no device
    return measure_cuda_ceilings(*context_, ops_->model());
  }
  bool fill_missing_weights() override {
    ops();
    ops_->fill_missing_weights(true);
    return true;
  }
  void inject_failures(int count) override {
    if (context_) context_->fail_next(count);
  }
  Ops& ops() override {
    if (!ops_) throw RuntimeError("a planning backend computes nothing");
    return *ops_;
  }
  const BackendModel& model() const override { return ops_ ? ops_->model() : *model_; }
  std::unique_ptr<Allocator> plan_memory() const override { return std::make_unique<Arena>(); }
  int64_t budget() const override { return budget_; }
  int64_t device_overhead() const override { return context_ ? context_->overhead_bytes() : 0; }
  int64_t device_bytes() const override { return context_ ? context_->device_bytes() : 0; }

 private:
  PrecisionChoice precision_ = PrecisionChoice::automatic;
  bool libraries_;
  std::string name_;
  int64_t budget_;
  std::shared_ptr<CudaContext> context_;
  std::unique_ptr<CudaOps> ops_;
  std::unique_ptr<CudaModel> model_;  // of a plan
};

#endif

}  // namespace

int gpu_count() {
#ifdef INKLING_CUDA
  return cuda_device_count();
#else
  return 0;
#endif
}

std::unique_ptr<Backend> open_backend(const DeviceChoice& device, PrecisionChoice precision) {
  const bool gpu =
      device.kind == DeviceChoice::Kind::cuda || (device.kind == DeviceChoice::Kind::automatic && gpu_count() > 0);
  if (!gpu) return std::make_unique<CpuBackend>(precision);
#ifdef INKLING_CUDA
  if (device.index >= gpu_count())
    throw RuntimeError(
        "device: got cuda:{}, but the driver shows {} GPUs (is it installed?); --device cpu works "
        "everywhere",
        device.index, gpu_count());
  return std::make_unique<CudaBackend>(device, precision, true);
#else
  throw RuntimeError("device: this program was built without CUDA (no nvcc was found); use --device cpu");
#endif
}

std::unique_ptr<Backend> planning_backend(const DeviceChoice& device, PrecisionChoice precision) {
#ifdef INKLING_CUDA
  if (device.kind == DeviceChoice::Kind::cuda || (device.kind == DeviceChoice::Kind::automatic && gpu_count() > 0))
    return std::make_unique<CudaBackend>(device, precision, false);
#else
  if (device.kind == DeviceChoice::Kind::cuda)
    throw RuntimeError("device: this program was built without CUDA (no nvcc was found); use --device cpu");
#endif
  return std::make_unique<CpuBackend>(precision);
}

}  // namespace inkling
