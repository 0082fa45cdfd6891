// The phase of a run that turns prompts, and the pictures that they speak of, into what the transformer reads.
#pragma once

#include <functional>
#include <vector>

#include "pipeline/batch_run.h"

namespace inkling {

// A job on its way.
struct RunMember {
  const Job& job;
  const Callbacks& callbacks;
  JobResult result;
  std::vector<Tensor> prompts;     // positive, negative: host [L, text_dim]
  std::vector<Tensor> references;  // host [R_i, 64]
  int pictures_done = 0;           // denoised to the end

  bool live() const { return result.error == nullptr; }
  void report(const char* phase, int step, int total) const {
    if (live() && callbacks.progress) callbacks.progress({phase, step, total});
  }
};

// What a phase asks of its run.
struct RunControl {
  std::function<void(const char* phase)> begin;
  std::function<void()> leave;  // cancelled members are out from here on; throws when nobody is left
};

// Fills the prompts of every live member, from the cache where it knows them.
void encode_prompts(Ops& ops, Parts& parts, const RunServices& services, std::vector<RunMember>& members,
                    const RunControl& control);

}  // namespace inkling
