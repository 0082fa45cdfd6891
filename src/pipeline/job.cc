#include "pipeline/job.h"

#include "pipeline/batch_run.h"

namespace inkling {

void OwnedParts::done(Part part) {
  switch (part) {
    case Part::text_encoder: text_encoder_.reset(); break;
    case Part::vision: vision_.reset(); break;
    case Part::modulation: modulation_.reset(); break;
    case Part::dit: dit_.reset(); break;
    case Part::vae_encoder: vae_encoder_.reset(); break;
    case Part::vae_decoder: vae_decoder_.reset(); break;
  }
}

std::vector<Tensor> run_job(Ops& ops, Parts& parts, const Job& job, const Callbacks& callbacks, const PhaseFn& phase) {
  const BatchMember member{&job, &callbacks};
  std::vector<JobResult> results = run_jobs(ops, parts, {&member, 1}, 1, {}, phase);
  if (results[0].error) std::rethrow_exception(results[0].error);
  return std::move(results[0].pictures);
}

}  // namespace inkling
