#include "memory/module_store.h"

#include <algorithm>

#include "base/error.h"

namespace inkling {

namespace {

void drop(const Parameter& p) {
  if (p.vector != nullptr) *p.vector = Tensor();
  if (p.weight == nullptr) return;
  p.weight->value = Tensor();
  p.weight->bias = Tensor();
  p.weight->prepared.reset();
}

}  // namespace

ModuleStore::ModuleStore(Module& module, Ops& ops, const Load& load, Options options)
    : module_(module), ops_(ops), load_(load), options_(std::move(options)) {
  module_.for_each_block([&](Module& block) {
    index_[&block] = blocks_.size();
    blocks_.push_back({&block});
  });
  if (options_.mode == Mode::streamed && options_.resident.size() != blocks_.size())
    throw RuntimeError("module store: {} blocks, placement knows {}", blocks_.size(), options_.resident.size());
  module_.for_each_outer_parameter(load_);
  if (options_.mode == Mode::once) {
    module_.set_residency(this);
    return;
  }
  const bool keeps_copies = options_.parked;
  int64_t largest = 0;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    Block& b = blocks_[i];
    b.module->for_each_parameter(load_, b.module->path());
    b.resident = options_.mode == Mode::resident || options_.resident[i];
    b.here = b.resident;
    if (b.resident && !keeps_copies) continue;
    b.group = stow([&](const auto& visit) { b.module->for_each_parameter(visit); });
    b.here = false;
    if (!b.resident) largest = std::max(largest, ops_.weight_mover()->bytes(b.group));
  }
  if (keeps_copies) {
    outer_group_ = stow([&](const auto& visit) { module_.for_each_outer_parameter(visit); });
    parked_ = true;
  }
  if (options_.mode == Mode::streamed || keeps_copies) module_.set_residency(this);
  if (largest > 0) ops_.weight_mover()->set_buffers(static_cast<int>(kStreamBuffers), largest);
  if (keeps_copies) unpark();
}

ModuleStore::~ModuleStore() {
  module_.set_residency(nullptr);
  try {  // one by one: a destructor should not ask for memory
    for (const Block& b : blocks_)
      if (b.group >= 0) ops_.weight_mover()->forget({&b.group, 1});
    if (outer_group_ >= 0) ops_.weight_mover()->forget({&outer_group_, 1});
  } catch (const Error&) {  // the device is lost, and what it held with it
  }
}

int ModuleStore::stow(const std::function<void(const std::function<void(const Parameter&)>&)>& walk) {
  std::vector<Weight*> weights;
  walk([&](const Parameter& p) {
    if (p.weight != nullptr) weights.push_back(p.weight);
  });
  return ops_.weight_mover()->stow(weights);
}

bool ModuleStore::fetch(Block& b) {
  if (!b.here) b.here = ops_.weight_mover()->fetch(b.group, b.resident);
  return b.here;
}

void ModuleStore::look_ahead(size_t index) {
  // In order of use, around the end: the next pass begins where this one ended.
  for (size_t step = 1; step < blocks_.size(); ++step) {
    Block& next = blocks_[(index + step) % blocks_.size()];
    if (next.here) continue;
    if (!fetch(next)) return;  // no buffer is free
    // Blocks of their own memory are brought in a few at a time, so that streamed ones are not kept waiting.
    if (next.resident && step >= static_cast<size_t>(kStreamBuffers)) return;
  }
}

void ModuleStore::acquire(const Module& block) {
  const auto found = index_.find(&block);
  if (found == index_.end()) return;
  Block& b = blocks_[found->second];
  if (options_.mode == Mode::once) {
    b.module->for_each_parameter(load_, b.module->path());
    return;
  }
  if (b.group < 0) return;
  if (!fetch(b)) throw RuntimeError("module store: no buffer is free for {}", block.path());
  ops_.weight_mover()->await(b.group);
  look_ahead(found->second);
}

void ModuleStore::release(const Module& block) {
  const auto found = index_.find(&block);
  if (found == index_.end()) return;
  Block& b = blocks_[found->second];
  if (options_.mode == Mode::once) {
    b.module->for_each_parameter(drop);
    return;
  }
  if (b.group < 0 || b.resident) return;
  ops_.weight_mover()->drop(b.group);
  b.here = false;
  look_ahead(found->second);
}

void ModuleStore::park() {
  if (!options_.parked || parked_) return;
  for (Block& b : blocks_) {
    if (b.here) ops_.weight_mover()->drop(b.group);
    b.here = false;
  }
  ops_.weight_mover()->drop(outer_group_);
  ops_.weight_mover()->set_buffers(0, 0);
  parked_ = true;
}

void ModuleStore::unpark() {
  if (!parked_) return;
  parked_ = false;
  int64_t largest = 0;
  for (const Block& b : blocks_)
    if (!b.resident) largest = std::max(largest, ops_.weight_mover()->bytes(b.group));
  if (largest > 0) ops_.weight_mover()->set_buffers(static_cast<int>(kStreamBuffers), largest);
  ops_.weight_mover()->fetch(outer_group_, true);
  ops_.weight_mover()->await(outer_group_);
}

}  // namespace inkling
