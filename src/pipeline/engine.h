// The one door for the command line, the server and compression: opens a model, runs requests.
//
//   prompt -> tokens -> text encoder ┐
//   pictures -> vision tower ────────┤-> DiT, step by step -> latents -> VAE -> picture
//   pictures -> VAE latents ─────────┘
//
// Text encoder, DiT and VAE take turns: each is loaded when its phase begins and, unless keep_loaded is set,
// released when it ends. On a GPU each has the whole budget for its phase; what does not fit is streamed.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pipeline/backend.h"
#include "pipeline/request.h"

namespace inkling {

struct SeparateFiles;
struct RunPlan;

struct LoraFile {
  std::filesystem::path path;
  float scale = 1.f;
};

// How several devices share the work of a run.
enum class DeviceSplit {
  automatic,
  pictures,  // each device draws whole pictures
  guidance,  // one does the positive pass, another the negative
  blocks,    // each has some of the transformer's blocks
};

struct EngineOptions {
  std::filesystem::path model;  // folder, single file or GGUF; empty: the model that ships
  std::filesystem::path dit, text_encoder, mmproj, vae, tokenizer;  // each replaces that part of `model`
  std::vector<LoraFile> loras;
  DeviceChoice device;
  PrecisionChoice precision = PrecisionChoice::automatic;
  DeviceSplit split = DeviceSplit::automatic;         // with several devices only
  bool keep_loaded = false;                           // keep every component in memory between requests
  bool lora_alpha_as_diffusers = false;               // factor 1 for lora_A/lora_B keys even where alpha is stored
  int64_t embedding_cache_bytes = int64_t{64} << 20;  // host memory for encoded prompts (embedding_cache.h); 0: none
};

struct EmbeddingCacheStats {
  int64_t hits = 0, misses = 0, entries = 0, bytes = 0;
};

// Called by parity tests with every named intermediate value.
using TraceFn = std::function<void(std::string_view name, const class Tensor& value)>;

class Engine {
 public:
  // Reads configuration and tokenizer only; weights are loaded by the first request. Throws ModelError.
  explicit Engine(const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Result run(const Request& request, const Callbacks& callbacks = {});
  // Several requests together: those of one batch_key go through the transformer as one packed sequence, the others one
  // after another. Never throws for what concerns one member: its Outcome holds the error, the others go on, and their
  // bytes do not change. A member leaves at the next step after its cancel token was set. callbacks: none, or one each;
  // they are called one at a time, from this thread or, with several devices, from theirs.
  //
  // Every result has the bytes of run() alone where the order of a matrix product's sums does not depend on its number
  // of rows: in f32 on CPUs with AVX-512. In bfloat16 oneDNN orders some sums by it, and on GPUs the libraries do:
  // pixels may differ by rounding, at most a sixth of what bf16 itself changes in batch_test.cc. With the model that
  // ships none did (120 pictures of 128 to 320 pixels in f32, bf16, w8a8 and w4a8).
  std::vector<Outcome> run_batch(std::span<const Request> requests, std::span<const Callbacks> callbacks = {});
  // Requests of equal keys may share a run_batch; empty: this one gains nothing by company. Looks at sizes only; wrong
  // requests get a key too and fail in run_batch alone.
  std::string batch_key(const Request& request) const;
  // Hex digits that change when a file of the model or a LoRA, the precision, the kind of device or the program itself
  // changes: by names, sizes, modification times and headers; weights are not read.
  std::string fingerprint() const;
  EmbeddingCacheStats embedding_cache_stats() const;  // may be called from another thread
  // What run() would need for this request, to the byte; no weights are loaded.
  RunPlan plan(const Request& request) const;
  void set_trace(TraceFn trace);
  const std::string& model_name() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The files that the options name; the base is the model that ships where none is given. Throws ModelError.
SeparateFiles separate_files(const EngineOptions& options);
EngineOptions make_engine_options(const OptionValues& options);
// Lightning LoRAs say what they are in their file name: "Qwen-Image-Lightning-4steps-V2.0.safetensors". Their steps; 0:
// it is none.
int lightning_steps(const std::filesystem::path& lora);
// Folder of the model that ships: INKLING_MODELS, beside the program, or where it was installed.
std::filesystem::path shipped_model();

}  // namespace inkling
