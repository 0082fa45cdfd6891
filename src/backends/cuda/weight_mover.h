// Weight streaming over PCIe: a group is one blob in pinned host memory, in the layout that the kernels read, and one
// copy on a stream of its own. Events order copies and kernels; the host never waits.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "backends/cuda/context.h"
#include "backends/cuda/cuda_weight.h"
#include "ops/weight_mover.h"

namespace inkling {

class CudaWeightMover : public WeightMover {
 public:
  explicit CudaWeightMover(std::shared_ptr<CudaContext> context);
  ~CudaWeightMover() override;

  int stow(std::span<Weight* const> weights) override;
  int64_t bytes(int group) const override { return groups_[group].bytes; }
  void set_buffers(int count, int64_t bytes) override;
  bool fetch(int group, bool own_memory) override;
  void await(int group) override;
  void drop(int group) override;
  void forget(std::span<const int> groups) override;

 private:
  struct Buffer {
    std::shared_ptr<Storage> memory;
    cudaEvent_t free{};  // recorded when its last user was enqueued
    int group = -1;
  };
  struct Group {
    std::vector<std::shared_ptr<const PreparedWeight>> weights;
    std::vector<int64_t> offsets;
    int64_t bytes = 0;
    std::byte* host = nullptr;     // pinned
    std::shared_ptr<Storage> own;  // device memory of its own
    int buffer = -1;               // or the shared buffer that it is in
    cudaEvent_t ready{};
    bool here = false;
  };
  void place(Group& group, std::byte* device);

  std::shared_ptr<CudaContext> context_;
  cudaStream_t copies_{};
  std::vector<Group> groups_;
  std::vector<Buffer> buffers_;
};

}  // namespace inkling
