#include "backends/cuda/weight_mover.h"

#include <algorithm>

#include "backends/cuda/kernels/launch.h"
#include "base/error.h"

namespace inkling {

using cuda::check;

namespace {

const CudaWeight& cuda_weight(const std::shared_ptr<const PreparedWeight>& w) {
  return static_cast<const CudaWeight&>(*w);
}

cudaEvent_t make_event() {
  cudaEvent_t event{};
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "event");
  return event;
}

}  // namespace

CudaWeightMover::CudaWeightMover(std::shared_ptr<CudaContext> context) : context_(std::move(context)) {
  check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "copy stream");
}

CudaWeightMover::~CudaWeightMover() {
  cudaStreamSynchronize(copies_);
  cudaStreamSynchronize(context_->lane());
  for (Group& g : groups_) {
    if (g.host != nullptr) cudaFreeHost(g.host);
    if (g.ready != nullptr) cudaEventDestroy(g.ready);
  }
  for (Buffer& b : buffers_) cudaEventDestroy(b.free);
  cudaStreamDestroy(copies_);
}

int CudaWeightMover::stow(std::span<Weight* const> weights) {
  Group g;
  Layout layout;
  for (Weight* w : weights) {
    const auto* prepared = dynamic_cast<const CudaWeight*>(w->prepared.get());
    if (prepared == nullptr || prepared->base == nullptr || prepared->parts.total == 0) continue;
    g.weights.push_back(w->prepared);
    g.offsets.push_back(layout.add(prepared->parts.total));
  }
  g.bytes = layout.total();
  if (g.bytes > 0) {
    const cudaError_t status = cudaHostAlloc(reinterpret_cast<void**>(&g.host), static_cast<size_t>(g.bytes), 0);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw MemoryError("out of memory: {} MiB of page-locked host memory for streamed weights", g.bytes >> 20);
    }
    check(status, "page-locked memory");
  }
  for (size_t i = 0; i < g.weights.size(); ++i) {
    const CudaWeight& w = cuda_weight(g.weights[i]);
    check(cudaMemcpyAsync(g.host + g.offsets[i], w.base, static_cast<size_t>(w.parts.total), cudaMemcpyDeviceToHost,
                          context_->lane()),
          "stowing weights");
  }
  check(cudaStreamSynchronize(context_->lane()), "stowing weights");
  for (const auto& prepared : g.weights) {
    cuda_weight(prepared).memory.reset();
    cuda_weight(prepared).base = nullptr;
  }
  g.ready = make_event();
  groups_.push_back(std::move(g));
  return static_cast<int>(groups_.size()) - 1;
}

void CudaWeightMover::set_buffers(int count, int64_t bytes) {
  for (Buffer& b : buffers_) {
    if (b.group >= 0) throw RuntimeError("weight mover: a buffer is in use");
    cudaEventDestroy(b.free);
  }
  buffers_.clear();
  for (int i = 0; i < count; ++i) {
    buffers_.push_back({context_->arena().allocate_lasting(bytes), make_event()});
    // Whoever had this memory before is done when the main stream gets here.
    check(cudaEventRecord(buffers_.back().free, context_->lane()), "buffer");
  }
}

void CudaWeightMover::place(Group& g, std::byte* device) {
  for (size_t i = 0; i < g.weights.size(); ++i)
    cuda_weight(g.weights[i]).base = device != nullptr ? device + g.offsets[i] : nullptr;
  g.here = device != nullptr;
}

bool CudaWeightMover::fetch(int group, bool own_memory) {
  Group& g = groups_[group];
  if (g.here) return true;
  std::byte* to = nullptr;
  if (own_memory) {
    g.own = context_->arena().allocate_lasting(g.bytes);
    to = g.own->data();
    check(cudaEventRecord(g.ready, context_->lane()), "fetch");
    check(cudaStreamWaitEvent(copies_, g.ready), "fetch");
  } else {
    const auto free = std::ranges::find(buffers_, -1, &Buffer::group);
    if (free == buffers_.end()) return false;
    if (free->memory->bytes() < g.bytes) throw RuntimeError("weight mover: a group is larger than the buffers");
    free->group = group;
    g.buffer = static_cast<int>(free - buffers_.begin());
    to = free->memory->data();
    check(cudaStreamWaitEvent(copies_, free->free), "fetch");
  }
  if (g.bytes > 0)
    check(cudaMemcpyAsync(to, g.host, static_cast<size_t>(g.bytes), cudaMemcpyHostToDevice, copies_), "fetch");
  check(cudaEventRecord(g.ready, copies_), "fetch");
  place(g, to);
  return true;
}

void CudaWeightMover::await(int group) { check(cudaStreamWaitEvent(context_->lane(), groups_[group].ready), "await"); }

void CudaWeightMover::drop(int group) {
  Group& g = groups_[group];
  if (!g.here) return;
  place(g, nullptr);
  g.own.reset();  // reused in the main stream's order, and fetch() waits for that stream
  if (g.buffer < 0) return;
  Buffer& b = buffers_[g.buffer];
  check(cudaEventRecord(b.free, context_->lane()), "drop");
  b.group = -1;
  g.buffer = -1;
}

void CudaWeightMover::forget(std::span<const int> groups) {
  check(cudaStreamSynchronize(copies_), "weight mover");
  check(cudaStreamSynchronize(context_->lane()), "weight mover");
  for (int i : groups) {
    Group& g = groups_[i];
    drop(i);
    if (g.host != nullptr) cudaFreeHost(g.host);
    if (g.ready != nullptr) cudaEventDestroy(g.ready);
    g = Group{};
  }
  if (std::ranges::all_of(buffers_, [](const Buffer& b) { return b.group < 0; })) set_buffers(0, 0);
}

}  // namespace inkling
