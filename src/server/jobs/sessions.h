// Editing sessions: a picture and the tree of its edits. In memory, bounded; a session that nobody touches is
// forgotten.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "editing/history.h"
#include "server/worker/frame.h"

namespace inkling::server {

struct SessionLimits {
  size_t sessions = 500;
  size_t bytes = 512 << 20;  // of all pictures; the session that was not used for longest goes first
  double idle_seconds = 24 * 3600;
  int chain = 4;  // edits of edits; a longer chain is drawn again from the original
};

struct Session {
  std::string id, owner;
  EditHistory history;
  std::map<std::string, Blob> pictures;  // by node
  double used = 0;

  size_t bytes() const;
  nlohmann::json json(int chain) const;
};

class Sessions {
 public:
  Sessions(SessionLimits limits, std::function<double()> now) : limits_(limits), now_(std::move(now)) {}

  std::shared_ptr<Session> create(const std::string& owner, const Blob& picture, double unix_now);
  std::shared_ptr<Session> find(const std::string& id, const std::string& owner);
  bool remove(const std::string& id, const std::string& owner);
  // The result of an edit: the new node's id. Throws ArgumentError when the tree is full.
  std::string add(Session& session, const std::string& parent, const std::string& instruction, const Blob& picture,
                  bool rerun, double unix_now);
  void tick();
  const SessionLimits& limits() const { return limits_; }
  size_t size() const { return sessions_.size(); }

 private:
  void make_room();
  const SessionLimits limits_;
  const std::function<double()> now_;
  std::map<std::string, std::shared_ptr<Session>> sessions_;
};

// A random identifier of 128 bits: prefix and 32 hex digits.
std::string random_id(const std::string& prefix);

}  // namespace inkling::server
