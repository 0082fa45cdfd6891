// Marks of the GPU: events in the stream that all work is enqueued on.
#include "ops/mark.h"

#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/kernels/launch.h"
#include "base/error.h"

namespace inkling {

using cuda::check;

namespace {

class EventMark : public Mark {
 public:
  explicit EventMark(cudaStream_t stream) {
    check(cudaEventCreate(&event_), "mark");
    check(cudaEventRecord(event_, stream), "mark");
  }
  ~EventMark() override { cudaEventDestroy(event_); }
  EventMark(const EventMark&) = delete;
  EventMark& operator=(const EventMark&) = delete;

  double seconds_since(const Mark& earlier) const override {
    const auto* other = dynamic_cast<const EventMark*>(&earlier);
    if (other == nullptr) throw RuntimeError("mark: got one of another backend, expected an event of this GPU");
    check(cudaEventSynchronize(event_), "mark");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, other->event_, event_), "mark");
    return milliseconds * 1e-3;
  }

 private:
  cudaEvent_t event_{};
};

}  // namespace

std::unique_ptr<Mark> CudaOps::mark() { return std::make_unique<EventMark>(context_->lane()); }

}  // namespace inkling
