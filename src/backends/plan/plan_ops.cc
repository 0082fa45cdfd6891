#include "backends/plan/plan_ops.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace inkling {

namespace {

struct PlannedWeight : PreparedWeight {
  std::shared_ptr<Storage> storage;  // null: used in place
  int64_t bytes() const override { return storage ? storage->bytes() : 0; }
};

}  // namespace

PlanOps::PlanOps(const BackendModel& model, std::unique_ptr<Allocator> memory)
    : model_(model),
      allocator_(memory ? std::move(memory) : std::make_unique<CountingAllocator>(/*virtual_memory=*/true)),
      phases_(1) {}

void PlanOps::begin_phase(std::string name) {
  phases();
  peak_ = std::max(peak_, allocator_->stats().peak);
  allocator_->reset_peak();
  if (phases_.size() == 1 && phases_[0].calls == 0 && phases_[0].name.empty()) phases_.clear();
  phases_.push_back({.name = std::move(name), .start_bytes = allocator_->stats().current, .weights = {}});
}

const std::vector<PlanPhase>& PlanOps::phases() const {
  phases_.back().peak_bytes = std::max(phases_.back().peak_bytes, allocator_->stats().peak);
  return phases_;
}

MemoryStats PlanOps::memory() const {
  MemoryStats stats = allocator_->stats();
  stats.peak = std::max(stats.peak, peak_);
  return stats;
}

void PlanOps::reset_peak() {
  phases();
  peak_ = 0;
  allocator_->reset_peak();
}

void PlanOps::prepare(Weight& weight) {
  if (weight.prepared) return;
  const DType stored = weight.value.defined() ? weight.value.dtype() : weight.stored;
  weight.stored = stored;
  auto planned = std::make_shared<PlannedWeight>();
  if (const int64_t bytes = model_.prepared_bytes(weight); bytes > 0)
    planned->storage = allocator_->allocate_lasting(bytes);
  if (const int64_t bytes = model_.prepare_workspace_bytes(weight); bytes > 0) allocator_->allocate(bytes);
  weight.prepared = std::move(planned);
}

Tensor PlanOps::upload(const Tensor& host) { return allocate(host.shape(), host.dtype()); }

Tensor PlanOps::download(const Tensor& tensor) {
  // Everybody reads the same zeros.
  const int64_t elements = tensor.elements();
  if (!zeros_.defined() || zeros_.elements() < elements) {
    zeros_ = host_tensor(Shape{elements});
    std::memset(zeros_.raw(), 0, static_cast<size_t>(zeros_.bytes()));
  }
  return Tensor(tensor.shape(), DType::f32, zeros_.storage());
}

Tensor PlanOps::allocate(const Shape& shape, DType type) {
  return Tensor(shape, type, allocator_->allocate(Tensor(shape, type, nullptr).bytes()));
}

Tensor PlanOps::result(OpKind op, const Shape& shape, const Tensor& operand) {
  Tensor y = allocate(shape, model_.output_type(op, operand.dtype()));
  phases_.back().written_bytes += y.bytes();
  return y;
}

int64_t PlanOps::weight_bytes(const Weight& weight) const {
  if (const int64_t bytes = model_.prepared_bytes(weight); bytes > 0) return bytes;
  const int64_t columns = weight.shape.elements() / std::max<int64_t>(1, weight.shape[0]);
  return matrix_bytes(Shape{weight.shape[0], columns}, weight.stored, weight.low_bit.kind);
}

void PlanOps::work(const OpCall& call, int64_t flops) {
  PlanPhase& phase = phases_.back();
  if (const int64_t bytes = model_.workspace_bytes(call); bytes > 0) {
    allocator_->allocate(bytes);
    phase.written_bytes += bytes;
  }
  ++phase.calls;
  phase.flops += flops;
  if (flops > 0) {
    const ProductFormats formats = model_.formats(call);
    phase.flops_in[static_cast<size_t>(formats.first)] += flops - flops / 2;
    phase.flops_in[static_cast<size_t>(formats.second)] += flops / 2;
  }
  for (const Weight* w : call.weights) {
    if (w == nullptr) continue;
    // A row per id of an embedding table, and all of any other weight.
    int64_t bytes = weight_bytes(*w);
    if (call.kind == OpKind::embedding) bytes = bytes / std::max<int64_t>(1, w->shape[0]) * call.rows;
    phase.weight_bytes += bytes;
    const auto known = std::ranges::find(phase.weights, w->name, &PlannedWeightUse::name);
    if (known != phase.weights.end())
      ++known->uses;
    else
      phase.weights.push_back({w->name, bytes, 1});
  }
}

Tensor PlanOps::simple(OpKind op, const Shape& shape, const Tensor& operand) {
  Tensor y = result(op, shape, operand);
  work(OpCall{.kind = op, .rows = operand.rows(), .operand = operand.dtype()});
  return y;
}

}  // namespace inkling
