// Tensor names: from every naming that is seen in the wild to the names of the model trees, which are those
// of diffusers and transformers (reference/qwen-image.md 1.2-1.5).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inkling {

enum class Component { dit, text_encoder, vision, vae };
std::string_view name(Component component);

// Where a file's tensor goes. Several tensors of a file may form one (`part` orders them).
struct CanonicalName {
  enum class Join { none, rows, time };  // rows: one below the other; time: slices of axis 2 of a convolution
  std::string name;
  Join join = Join::none;
  int part = 0;
};

using NameMap = std::function<std::optional<CanonicalName>(std::string_view)>;

// The map for `component` of a file with these tensor names; empty when the file does not hold it. Names
// that belong to other components of the file map to nothing.
NameMap find_name_map(Component component, const std::vector<std::string>& names);

}  // namespace inkling
