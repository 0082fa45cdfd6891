// Jobs through all phases on one backend. The pictures of jobs that agree in everything but prompts and pixels go
// through the transformer together, packed one after another; the other phases take them in turn.
#pragma once

#include <exception>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pipeline/denoiser.h"
#include "pipeline/job.h"

namespace inkling {

class EmbeddingCache;
class PreviewMap;

struct BatchMember {
  const Job* job;
  const Callbacks* callbacks;
};

struct JobResult {
  std::vector<Tensor> pictures;  // host f32 [H, W, 3], one per noise tensor (zeros when planned)
  std::vector<Tensor> latents;   // host f32 [N, 64]
  bool embedding_cached = false;
  std::exception_ptr error;  // set: this job left the run; the others went on
};

// Makes what denoises: with the modulation of every step, on the device or, where it is long, on the host.
using DenoiserFn =
    std::function<std::unique_ptr<Denoiser>(const std::vector<StepModulation>& steps, bool steps_on_device)>;

// What outlives a run and spares the next one work; null: nothing does.
struct RunServices {
  EmbeddingCache* embeddings = nullptr;
  std::string networks;  // for embedding_key()
  PreviewMap* preview = nullptr;
  DenoiserFn denoiser;  // empty: on this device alone
};

// Whether these may be members of one run.
bool same_batch(const Job& a, const Job& b);

// together: pictures in one pass of the transformer, at most. A job that is cancelled, or whose latents are not finite,
// leaves with its error; every other error ends the run. Results do not depend on `together` or on the other members
// where the backend's rows do not depend on each other (engine.h).
std::vector<JobResult> run_jobs(Ops& ops, Parts& parts, std::span<const BatchMember> members, int together,
                                const RunServices& services, const PhaseFn& phase = {});

}  // namespace inkling
