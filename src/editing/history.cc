#include "editing/history.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"

namespace inkling {

namespace {

constexpr size_t kMaxInstructionBytes = 16'384;
constexpr size_t kMaxPictureBytes = 4096;

// Without the full stop and spaces at its end, so that clauses can be joined.
std::string_view open_end(std::string_view text) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view end : {" ", ".", ";", ",", "。", "，", "；", "！", "!", "\n"})
      if (text.size() > end.size() && text.ends_with(end)) {
        text.remove_suffix(end.size());
        again = true;
      }
  }
  return text;
}

}  // namespace

EditHistory::EditHistory(std::string original_picture, int64_t created) {
  nodes_.push_back({"n0", "", 0, "", std::move(original_picture), created});
  places_.emplace("n0", 0);
}

size_t EditHistory::place(const std::string& id) const {
  const auto found = places_.find(id);
  if (found == places_.end()) throw ArgumentError("history: there is no node \"{}\"", id.substr(0, 40));
  return found->second;
}

const EditNode& EditHistory::node(const std::string& id) const { return nodes_[place(id)]; }

std::string EditHistory::add(const std::string& parent, std::string instruction, std::string picture, int64_t created,
                             bool rerun) {
  const EditNode& above = node(parent);
  if (instruction.empty() || instruction.size() > kMaxInstructionBytes)
    throw ArgumentError("history: an instruction takes 1 to {} bytes, got {}", kMaxInstructionBytes,
                        instruction.size());
  if (picture.size() > kMaxPictureBytes)
    throw ArgumentError("history: the name of a picture takes {} bytes, at most {}", picture.size(), kMaxPictureBytes);
  require_utf8(instruction);
  if (nodes_.size() >= kMaxNodes) throw ArgumentError("history: the tree is full ({} pictures)", kMaxNodes);
  EditNode node{fmt::format("n{}", nodes_.size()),
                parent,
                rerun ? 1 : above.depth + 1,
                std::move(instruction),
                std::move(picture),
                created};
  places_.emplace(node.id, nodes_.size());
  head_ = node.id;
  nodes_.push_back(std::move(node));
  return head_;
}

const EditNode& EditHistory::undo() {
  const EditNode& now = node(head_);
  if (now.parent.empty()) throw ArgumentError("history: the original has nothing before it");
  head_ = now.parent;
  return node(head_);
}

void EditHistory::set_head(const std::string& id) { head_ = node(id).id; }

void EditHistory::set_picture(const std::string& id, std::string picture) {
  if (picture.size() > kMaxPictureBytes)
    throw ArgumentError("history: the name of a picture takes {} bytes, at most {}", picture.size(), kMaxPictureBytes);
  nodes_[place(id)].picture = std::move(picture);
}

std::vector<const EditNode*> EditHistory::path(const std::string& id) const {
  std::vector<const EditNode*> result;
  for (const EditNode* at = &node(id);; at = &node(at->parent)) {
    result.push_back(at);
    if (at->parent.empty()) break;
  }
  std::ranges::reverse(result);
  return result;
}

EditPlan EditHistory::plan(const std::string& parent, const std::string& instruction, int limit) const {
  if (limit < 1) throw ArgumentError("history: the limit of edits in a row is {}, at least 1 is needed", limit);
  require_utf8(instruction);
  const EditNode& above = node(parent);
  if (above.depth + 1 <= limit) return {parent, instruction, false};
  std::vector<std::string_view> parts;
  for (const EditNode* step : path(parent))
    if (!step->instruction.empty()) parts.push_back(open_end(step->instruction));
  parts.push_back(open_end(instruction));
  size_t chinese = 0;
  for (const auto part : parts) chinese += has_han(part);
  const bool zh = 2 * chinese >= parts.size() && chinese > 0;
  EditPlan plan{"n0", {}, true};
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) plan.instruction += zh ? "，然后" : ", then ";
    plan.instruction += parts[i];
  }
  if (plan.instruction.size() > kMaxJoinedBytes)
    throw ArgumentError(
        "history: the instructions of {} edits take {} bytes together, at most {}; start from a newer picture",
        parts.size(), plan.instruction.size(), kMaxJoinedBytes);
  return plan;
}

nlohmann::json EditHistory::to_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const EditNode& n : nodes_)
    list.push_back({{"id", n.id},
                    {"parent", n.parent.empty() ? nlohmann::json(nullptr) : nlohmann::json(n.parent)},
                    {"depth", n.depth},
                    {"instruction", n.instruction},
                    {"picture", n.picture},
                    {"created", n.created}});
  return {{"nodes", std::move(list)}, {"head", head_}};
}

EditHistory EditHistory::from_json(const nlohmann::json& object) {
  try {
    if (!object.is_object() || object.size() != 2) throw ArgumentError("history: expected an object of nodes and head");
    const auto& list = object.at("nodes");
    if (!list.is_array() || list.empty() || list.size() > kMaxNodes)
      throw ArgumentError("history.nodes: 1 to {} are allowed", kMaxNodes);
    EditHistory result;
    for (size_t i = 0; i < list.size(); ++i) {
      const auto& item = list[i];
      if (!item.is_object() || item.size() != 6) throw ArgumentError("history.nodes[{}]: expected six fields", i);
      const auto text = [&](const char* field) { return item.at(field).get<std::string>(); };
      const int64_t created = item.at("created").get<int64_t>();
      const int depth = item.at("depth").get<int>();
      if (i == 0) {
        if (!item.at("parent").is_null() || depth != 0 || !text("instruction").empty())
          throw ArgumentError("history.nodes[0]: not an original");
        result = EditHistory(text("picture"), created);
      } else {
        const std::string parent = text("parent");
        const bool rerun = depth == 1 && result.node(parent).depth != 0;
        result.add(parent, text("instruction"), text("picture"), created, rerun);
        if (result.nodes_.back().depth != depth)
          throw ArgumentError("history.nodes[{}].depth: {} does not follow from its parent", i, depth);
      }
      if (result.nodes_.back().id != text("id"))
        throw ArgumentError("history.nodes[{}].id: expected {}", i, result.nodes_.back().id);
    }
    result.set_head(object.at("head").get<std::string>());
    return result;
  } catch (const nlohmann::json::exception& e) {
    throw ArgumentError("history: {}", e.what());
  }
}

}  // namespace inkling
