// Where a network's weights are while it runs: on the device for good, brought in block by block from host memory two
// blocks ahead of their use, or loaded from the file for one use each. Follows a placement (placement.h).
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "memory/placement.h"
#include "models/module.h"
#include "ops/weight_mover.h"

namespace inkling {

class ModuleStore : public Residency {
 public:
  // Makes one parameter of the network usable: reads it and hands it to the backend.
  using Load = std::function<void(const Parameter&)>;

  enum class Mode {
    resident,  // everything stays on the device
    once,      // a block is loaded when it is used and dropped after: for networks that run once
    streamed,  // blocks that the placement does not keep wait in host memory
  };
  // parked: host copies of all weights are kept, so that park() and a later run cost no loading.
  struct Options {
    Mode mode = Mode::resident;
    bool parked = false;
    std::vector<bool> resident;  // streamed: of each block
  };

  // Loads what the mode wants loaded. The module and the backend outlive the store.
  ModuleStore(Module& module, Ops& ops, const Load& load, Options options);
  ~ModuleStore() override;

  void acquire(const Module& block) override;
  void release(const Module& block) override;
  // The phase is over: device memory goes back, where host copies exist. The next acquire brings weights in again.
  void park();
  void unpark();

 private:
  struct Block {
    Module* module = nullptr;
    int group = -1;
    bool resident = true;
    bool here = false;  // or on its way
  };
  int stow(const std::function<void(const std::function<void(const Parameter&)>&)>& walk);
  // Brings in what comes next while there is room for it.
  void look_ahead(size_t index);
  bool fetch(Block& block);

  Module& module_;
  Ops& ops_;
  const Load load_;
  const Options options_;
  std::vector<Block> blocks_;
  std::map<const Module*, size_t> index_;
  int outer_group_ = -1;
  bool parked_ = false;
};

}  // namespace inkling
