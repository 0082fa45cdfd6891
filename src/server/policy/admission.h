// Whether to take a wish at all: one that would be late is refused at once, while its sender can still go elsewhere.
#pragma once

#include <string>

namespace inkling::server {

struct AdmissionOptions {
  int hard_cap = 64;           // jobs accepted and not over
  bool deadline_cap = true;    // also at most floor(deadline / service) a device
  bool predicted_wait = true;  // also only if predicted wait + service <= deadline
};

class Admission {
 public:
  struct Decision {
    bool accepted = false;
    double predicted_wait_s = 0;
    double retry_after_s = 0;  // of a refusal, at least 1
    std::string reason{};      // of a refusal, for people
    int status = 0;            // of a refusal: 429 too much, 503 nobody works
  };

  explicit Admission(AdmissionOptions options = {}) : options_(options) {}

  // `work_ahead_s`: device seconds of all that was accepted, the rest of the running ones included. `waiting`: how many
  // those are, running ones included. `service_s`: of this wish. `capacity`: devices at work.
  // With nothing ahead the wish is always taken: only drawing it can correct an estimate that is too high.
  Decision decide(double work_ahead_s, int waiting, double service_s, double deadline_s, int capacity) const;

 private:
  AdmissionOptions options_;
};

}  // namespace inkling::server
