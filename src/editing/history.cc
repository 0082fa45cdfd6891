#include "editing/history.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"

namespace inkling {

namespace {

bool is_chinese_text(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const int32_t c = next_code_point(text, at);
    if (c >= 0x4E00 && c <= 0x9FFF) return true;
  }
  return false;
}

}  // namespace

EditHistory::EditHistory(std::string original_picture, int64_t created) {
  nodes_.push_back({"n0", "", 0, "", std::move(original_picture), created});
  places_["n0"] = 0;
}

size_t EditHistory::place(const std::string& id) const {
  const auto found = places_.find(id);
  if (found == places_.end()) throw ArgumentError("node: there is no '{}' in this history", id.substr(0, 32));
  return found->second;
}

const EditNode& EditHistory::node(const std::string& id) const { return nodes_[place(id)]; }

std::string EditHistory::add(const std::string& parent, std::string instruction, std::string picture, int64_t created,
                             bool rerun) {
  const int depth = rerun ? 1 : node(parent).depth + 1;
  place(parent);
  if (instruction.empty()) throw ArgumentError("instruction: is empty");
  if (nodes_.size() >= kMaxNodes) throw ArgumentError("history: is full with {} pictures; begin a new one", kMaxNodes);
  const std::string id = fmt::format("n{}", nodes_.size());
  nodes_.push_back({id, parent, depth, std::move(instruction), std::move(picture), created});
  places_[id] = nodes_.size() - 1;
  head_ = id;
  return id;
}

const EditNode& EditHistory::undo() {
  const std::string parent = node(head_).parent;
  if (parent.empty()) throw ArgumentError("history: this is the original; there is nothing to undo");
  head_ = parent;
  return node(head_);
}

void EditHistory::set_head(const std::string& id) { head_ = nodes_[place(id)].id; }
void EditHistory::set_picture(const std::string& id, std::string picture) {
  nodes_[place(id)].picture = std::move(picture);
}

std::vector<const EditNode*> EditHistory::path(const std::string& id) const {
  std::vector<const EditNode*> nodes;
  for (const EditNode* at = &node(id);; at = &node(at->parent)) {
    nodes.push_back(at);
    if (at->parent.empty()) break;
  }
  std::ranges::reverse(nodes);
  return nodes;
}

EditPlan EditHistory::plan(const std::string& parent, const std::string& instruction, int limit) const {
  if (node(parent).depth + 1 <= limit) return {parent, instruction, false};
  std::vector<std::string> all;
  for (const EditNode* n : path(parent))
    if (!n->instruction.empty()) all.push_back(n->instruction);
  all.push_back(instruction);
  const auto chinese = std::ranges::count_if(all, is_chinese_text);
  const char* between = 2 * static_cast<size_t>(chinese) > all.size() ? "，然后" : ", then ";
  std::string joined = all.front();
  for (size_t i = 1; i < all.size(); ++i) joined += between + all[i];
  if (joined.size() > kMaxJoinedBytes)
    throw ArgumentError("prompt: the instructions of this chain are too long together; go back to an earlier picture");
  return {"n0", joined, true};
}

nlohmann::json EditHistory::to_json() const {
  nlohmann::json nodes = nlohmann::json::array();
  for (const EditNode& n : nodes_)
    nodes.push_back({{"id", n.id},
                     {"parent", n.parent},
                     {"depth", n.depth},
                     {"instruction", n.instruction},
                     {"picture", n.picture},
                     {"created", n.created}});
  return {{"head", head_}, {"nodes", std::move(nodes)}};
}

EditHistory EditHistory::from_json(const nlohmann::json& object) try {
  const auto damaged = [](const char* what) { return ArgumentError("history: is damaged ({})", what); };
  const nlohmann::json& nodes = object.at("nodes");
  if (!nodes.is_array() || nodes.empty() || nodes.size() > kMaxNodes) throw damaged("nodes");
  EditHistory history;
  history.nodes_.clear();
  history.places_.clear();
  for (const nlohmann::json& j : nodes) {
    EditNode n{j.at("id"), j.at("parent"), j.at("depth"), j.at("instruction"), j.at("picture"), j.at("created")};
    // Ids count up, and a parent stands before its children.
    if (n.id != fmt::format("n{}", history.nodes_.size())) throw damaged("id");
    const bool original = history.nodes_.empty();
    if (original ? !n.parent.empty() || n.depth != 0 : !history.has(n.parent) || n.instruction.empty())
      throw damaged("parent");
    if (!original && n.depth != 1 && n.depth != history.node(n.parent).depth + 1) throw damaged("depth");
    history.places_[n.id] = history.nodes_.size();
    history.nodes_.push_back(std::move(n));
  }
  history.set_head(object.at("head").get<std::string>());
  return history;
} catch (const nlohmann::json::exception&) {
  throw ArgumentError("history: is damaged (a field is missing or of another type)");
}

}  // namespace inkling
