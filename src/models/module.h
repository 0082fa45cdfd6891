// A model is a tree of modules. Children and parameters are members, registered once by name; loading,
// quantizing, pruning, streaming and planning all walk this tree.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace inkling {

// One parameter of the tree as the walkers see it.
struct Parameter {
  enum class Kind { linear, convolution, embedding, vector };
  enum class Fold { none, last_temporal_slice, flatten };  // how the file's tensor becomes `shape`:
  // last_temporal_slice: [O,I,T,kh,kw] -> [O,I,kh,kw] of index T-1 (causal video convolution on one frame);
  // flatten: all axes after the first are merged.
  std::string name;  // full path as in the checkpoint, with ".weight" (or ".bias" / ".gamma")
  Kind kind = Kind::linear;
  Fold fold = Fold::none;
  Shape shape;               // after folding
  Weight* weight = nullptr;  // linear, convolution, embedding
  Tensor* vector = nullptr;  // vectors (norm weights); f32 on the backend after loading
  bool optional = false;
};

class Module;

// Told around every use of a block's weights, so that they can be brought in and dropped again. A block that
// calls neither is always resident.
class Residency {
 public:
  virtual ~Residency() = default;
  virtual void acquire(const Module& block) = 0;  // the block's weights are usable when this returns
  virtual void release(const Module& block) = 0;  // not needed again in this pass
};

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;  // the tree holds pointers to members
  Module& operator=(const Module&) = delete;

  // Visits parameters depth first in registration order; names start with `prefix`.
  void for_each_parameter(const std::function<void(const Parameter&)>& visit, const std::string& prefix = "") const;
  // Path of this module in the tree ("transformer_blocks.7"), set by finish_names() of the root.
  const std::string& path() const { return path_; }
  // Gives every module its path and every Weight its name; called once by the root's owner.
  void finish_names(const std::string& path = "");
  // The blocks of the tree in order of use: what can be brought in and dropped one by one while the network runs.
  void for_each_block(const std::function<void(Module&)>& visit);
  // Parameters that belong to no block.
  void for_each_outer_parameter(const std::function<void(const Parameter&)>& visit,
                                const std::string& prefix = "") const;
  // For this module and all below it; null: everything is resident. The Residency outlives its use.
  void set_residency(Residency* residency);
  Residency* residency() const { return residency_; }

 protected:
  // `name` is relative, e.g. "attn.to_q". Weight shapes as in Parameter::shape.
  void add_linear(const std::string& name, Weight& weight, int64_t out, int64_t in, bool bias = true,
                  Parameter::Fold fold = Parameter::Fold::none);
  void add_conv(const std::string& name, Weight& weight, int64_t out, int64_t in, int64_t kernel, bool bias = true,
                Parameter::Fold fold = Parameter::Fold::none);
  void add_embedding(const std::string& name, Weight& weight, int64_t rows, int64_t dim);
  // `name` is the full relative name including its suffix, e.g. "norm1.weight".
  void add_vector(const std::string& name, Tensor& vector, int64_t length, bool optional = false);
  // An empty name gives the child's parameters this module's path: a part that is loaded on its own.
  void add_child(const std::string& name, Module& child);
  // A child whose forward begins with a Resident.
  void add_block(const std::string& name, Module& child);

 private:
  struct Child {
    std::string name;
    Module* module;
    bool block = false;
  };
  std::vector<Parameter> parameters_;
  std::vector<Child> children_;
  std::string path_;
  Residency* residency_ = nullptr;
};

// Keeps a block resident for the length of a scope: the first line of a block's forward.
class Resident {
 public:
  explicit Resident(const Module& block) : block_(block) {
    if (block_.residency() != nullptr) block_.residency()->acquire(block_);
  }
  ~Resident() {
    if (block_.residency() != nullptr) block_.residency()->release(block_);
  }
  Resident(const Resident&) = delete;
  Resident& operator=(const Resident&) = delete;

 private:
  const Module& block_;
};

}  // namespace inkling
