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

struct EngineOptions {
  std::filesystem::path model;  // folder, single file or GGUF; empty: the model that ships
  std::filesystem::path dit, text_encoder, mmproj, vae, tokenizer;  // each replaces that part of `model`
  std::vector<LoraFile> loras;
  DeviceChoice device;
  PrecisionChoice precision = PrecisionChoice::automatic;
  bool keep_loaded = false;              // keep every component in memory between requests
  bool lora_alpha_as_diffusers = false;  // factor 1 for lora_A/lora_B keys even where alpha is stored
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
// Folder of the model that ships: INKLING_MODELS, beside the program, or where it was installed.
std::filesystem::path shipped_model();

}  // namespace inkling
