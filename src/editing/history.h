// Successive edits of one picture: a tree whose root "n0" is the original.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

namespace inkling {

struct EditNode {
  std::string id;           // "n0", "n1", ...
  std::string parent;       // empty: the original
  int depth = 0;            // model runs between the original and this picture: 0 for the original
  std::string instruction;  // empty for the original
  std::string picture;      // whatever the owner stores it under
  int64_t created = 0;      // unix seconds
};

// How to make the picture of `parent` and one more instruction.
struct EditPlan {
  std::string start;        // node whose picture is the input
  std::string instruction;  // to run on it
  bool rerun = false;       // the chain would be too long: start is the original, the instructions are joined
};

class EditHistory {
 public:
  static constexpr size_t kMaxNodes = 10'000;
  static constexpr size_t kMaxJoinedBytes = 16'384;

  explicit EditHistory(std::string original_picture = {}, int64_t created = 0);

  // Adds a child, moves the head to it, returns its id. rerun: it was made from the original at once (plan()).
  // ArgumentError: unknown parent, empty instruction, tree full.
  std::string add(const std::string& parent, std::string instruction, std::string picture = {}, int64_t created = 0,
                  bool rerun = false);
  // The head becomes its parent. ArgumentError at the original.
  const EditNode& undo();
  const std::string& head() const { return head_; }
  void set_head(const std::string& id);
  void set_picture(const std::string& id, std::string picture);
  bool has(const std::string& id) const { return places_.contains(id); }
  const EditNode& node(const std::string& id) const;  // ArgumentError when unknown
  const std::vector<EditNode>& nodes() const { return nodes_; }
  // From the original to `id`, both included.
  std::vector<const EditNode*> path(const std::string& id) const;

  // limit: model runs in a row, >= 1. A chain that would be longer is run from the original, with all instructions
  // of the path joined, in the language most of them are in. ArgumentError when they are too long together.
  EditPlan plan(const std::string& parent, const std::string& instruction, int limit) const;

  nlohmann::json to_json() const;
  // Closed; ArgumentError when damaged (order, parents, depths, ids, head).
  static EditHistory from_json(const nlohmann::json& object);

 private:
  size_t place(const std::string& id) const;

  std::vector<EditNode> nodes_;
  std::unordered_map<std::string, size_t> places_;
  std::string head_ = "n0";
};

}  // namespace inkling
