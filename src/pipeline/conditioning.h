// From a request to a job: sizes, tokens, pictures for the vision tower and the VAE, schedule, noise. All on the host.
#pragma once

#include "models/registry.h"
#include "pipeline/job.h"
#include "pipeline/request.h"
#include "text/tokenizer.h"

namespace inkling {

// What of a model decides how a request is prepared.
struct ModelTraits {
  PipelineKind kind = PipelineKind::generate;
  ModelDefaults defaults;
  ProcessorConfig processor;
  FlowMatchConfig scheduler;
  int64_t latent_channels = 16;
  int distilled_steps = 0;  // > 0: a Lightning LoRA is on: this many steps, its schedule, no guidance
};

// A job, and how its pictures become the user's again.
struct PreparedRequest {
  Job job;
  std::string prompt;  // as encoded
  std::vector<int64_t> seeds;
  std::vector<std::string> notes;
  // An edit that keeps the geometry: crop to this size first, then resize to the input's size where they differ.
  int crop_width = 0, crop_height = 0;
};

// Throws ArgumentError for what the model cannot do.
PreparedRequest prepare_request(const Request& request, const ModelTraits& model, const Tokenizer& tokenizer);

// Equal for requests whose jobs can run together (batch_run.h), as far as their sizes tell; empty for one that only
// decodes.
std::string batch_key(const Request& request, const ModelTraits& model);

// The picture that the user gets from the one that the VAE decoded.
Image finish_picture(const Request& request, const PreparedRequest& prepared, Image decoded);

}  // namespace inkling
