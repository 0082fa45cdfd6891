// What a result depends on beside the request, in 32 hex digits.
#pragma once

#include <filesystem>
#include <string>

#include "models/registry.h"
#include "pipeline/engine.h"

namespace inkling {

// Of the text encoder and the vision tower: names, sizes and modification times.
std::string encoder_fingerprint(const ModelFiles& files);
// Of a whole engine: every file of the model with its header, LoRAs, options that change pixels, the program itself.
std::string engine_fingerprint(const ModelFiles& files, const EngineOptions& options, bool on_gpu);

}  // namespace inkling
