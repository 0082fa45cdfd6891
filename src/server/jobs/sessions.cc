#include "server/jobs/sessions.h"

#include <openssl/rand.h>

#include <algorithm>

#include "base/error.h"

namespace inkling::server {

std::string random_id(const std::string& prefix) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) throw RuntimeError("the system gives no random numbers");
  std::string id = prefix;
  for (const unsigned char b : bytes) id += fmt::format("{:02x}", b);
  return id;
}

size_t Session::bytes() const {
  size_t sum = 0;
  for (const auto& [node, picture] : pictures) sum += picture->size();
  return sum;
}

nlohmann::json Session::json(int chain) const {
  nlohmann::json nodes = nlohmann::json::array();
  for (const EditNode& node : history.nodes()) {
    nodes.push_back({{"id", node.id},
                     {"parent", node.parent.empty() ? nlohmann::json() : nlohmann::json(node.parent)},
                     {"depth", node.depth},
                     {"instruction", node.instruction},
                     {"image_url", "/v1/sessions/" + id + "/images/" + node.id},
                     {"created", node.created}});
  }
  return {{"id", id}, {"object", "session"}, {"nodes", nodes}, {"head", history.head()}, {"limit", chain}};
}

std::shared_ptr<Session> Sessions::create(const std::string& owner, const Blob& picture, double unix_now) {
  auto session = std::make_shared<Session>();
  session->id = random_id("ses_");
  session->owner = owner;
  session->used = now_();
  session->history = EditHistory({}, static_cast<int64_t>(unix_now));
  session->pictures[session->history.head()] = picture;
  sessions_[session->id] = session;
  make_room();
  return session;
}

std::shared_ptr<Session> Sessions::find(const std::string& id, const std::string& owner) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->owner != owner) return nullptr;
  found->second->used = now_();
  return found->second;
}

bool Sessions::remove(const std::string& id, const std::string& owner) {
  return find(id, owner) != nullptr && sessions_.erase(id) > 0;
}

std::string Sessions::add(Session& session, const std::string& parent, const std::string& instruction,
                          const Blob& picture, bool rerun, double unix_now) {
  const std::string node = session.history.add(parent, instruction, {}, static_cast<int64_t>(unix_now), rerun);
  session.pictures[node] = picture;
  session.used = now_();
  make_room();
  return node;
}

void Sessions::make_room() {
  const auto oldest = [&] {
    return std::ranges::min_element(sessions_, {}, [](const auto& entry) { return entry.second->used; });
  };
  const auto bytes = [&] {
    size_t sum = 0;
    for (const auto& [id, session] : sessions_) sum += session->bytes();
    return sum;
  };
  // The last one stays, however large.
  while (sessions_.size() > limits_.sessions || (sessions_.size() > 1 && bytes() > limits_.bytes))
    sessions_.erase(oldest());
}

void Sessions::tick() {
  std::erase_if(sessions_, [&](const auto& entry) { return now_() - entry.second->used > limits_.idle_seconds; });
}

}  // namespace inkling::server
