// Which model draws a wish: the full one when there is room, the 4-bit one when memory is short, the distilled one for
// what is asked again and again or would be late, the CPU when no GPU may work: slow, but it never stops.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/policy/config.h"

namespace inkling::server {

struct DeviceState {
  std::string name;     // "cuda:0", "cpu"
  bool allowed = true;  // its breaker is not open
  // Device memory that a model could have: free memory plus what our own worker on it would give back. Unknown: enough.
  std::optional<int64_t> room_bytes;

  bool gpu() const { return name != "cpu"; }
};

struct RouteQuery {
  bool edit = false;
  std::string asked = "auto";  // or an id
  double deadline_s = 0;       // 0: none
  int frequency = 0;           // equal wishes in the window, this one included (RequestFrequency)
  std::vector<DeviceState> devices;
  std::function<double(const std::string& model)> predicted_s;  // wait + service; may be empty
};

// Told with every picture that the fallback draws.
constexpr const char* kDrawnOnCpu = "no GPU may work at present: drawn on the CPU";

struct RouteChoice {
  std::string model;      // empty: nothing can draw this; see reason
  std::string reason;     // for people
  bool degraded = false;  // not the first model that was made for this
  bool fallback = false;  // on the CPU because no GPU may work
};

class ModelRouter {
 public:
  explicit ModelRouter(const nlohmann::json& config);  // the whole file; throws as parse_config
  explicit ModelRouter(ServerConfig config);

  // Throws ArgumentError ("model: ...") for an id that is not configured or cannot do this.
  RouteChoice choose(const RouteQuery& query) const;
  const std::vector<ModelEntry>& models() const { return config_.models; }
  const RoutingRules& rules() const { return config_.routing; }

 private:
  RouteChoice choose_automatic(const RouteQuery& query) const;
  const ServerConfig config_;
};

// Counts equal wishes within a sliding window. Bounded: at most `max_keys` different ones, the oldest forgotten first.
class RequestFrequency {
 public:
  explicit RequestFrequency(double window_s, size_t max_keys = 4096);
  int count(const std::string& canonical_prompt, double now);  // counts this one too

 private:
  struct Entry {
    std::string key;
    std::deque<double> times;
  };
  const double window_s_;
  const size_t max_keys_;
  std::list<Entry> order_;  // used last: first
  std::unordered_map<std::string, std::list<Entry>::iterator> entries_;
};

}  // namespace inkling::server
