// What the operator decides, as one JSON file (docs/serving-policy.md explains it row by row): the models and when to
// take which, the brown-out ladder, the breaker, limits and cache sizes. The built-in file is data/server/models.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inkling::server {

enum class ModelKind : uint8_t { full, four_bit, distilled, cpu };
std::string_view name(ModelKind kind);  // "full", "4bit", "distilled", "cpu": as in the file

// One way to draw: a checkpoint, how it is loaded, and what is known of it before it was ever run.
struct ModelEntry {
  std::string id;
  ModelKind kind = ModelKind::full;
  std::string path = "shipped";    // a model folder or file; "shipped": the model that comes with the program
  std::string precision = "auto";  // as --precision
  std::string device = "auto";     // "auto": any; "gpu": only a GPU; "cpu": only the CPU
  int64_t needs_bytes = 0;         // of device memory, weights and activations together
  bool text = true, edit = true;   // what it can draw
  int side = 256, steps = 8;       // its defaults: the shape that the seconds below speak of
  int min_side = 256;              // no shorter side is chosen for it under load: what it draws there may be broken
  int passes = 1;                  // forwards a step: 2 with guidance
  double text_s = 0, edit_s = 0;   // expected seconds of one picture of that shape, until some were measured
};

struct RoutingRules {
  int64_t reserve_bytes = 0;  // device memory to leave free beside a model
  double deadline_ratio = 1;  // a faster model is taken when wait + service exceed deadline x this
  double frequency_window_s = 600;
  int frequency_count = 0;  // so many equal wishes within the window are drawn by the distilled model; 0: never
};

enum class BrownOutAction : uint8_t { fewer_steps, smaller, lighter_model, refuse };

// One level of the brown-out; all levels up to the present one act together.
struct BrownOutRow {
  BrownOutAction action = BrownOutAction::fewer_steps;
  double enter = 0, leave = 0;  // predicted wait / deadline; leave < enter
  double factor = 1;            // fewer_steps: steps x factor, but not below:
  int minimum = 1;
  int side = 384;  // smaller: at most side x side pixels; half the model's side where that is <= side; never below its
                   // min_side
  std::string model;  // lighter_model: its id; empty: the first distilled one
};

struct BrownOutOptions {
  std::vector<BrownOutRow> ladder;
  double quiet_s = 6;  // below `leave` for so long: one level down. Rows x quiet_s <= 30
  // GPU busier than this for so long: at least the level of the `smaller` row. Off by default: a healthy GPU is at 100
  // % whenever it draws, so this reads every busy quarter of a minute as overload.
  struct Utilisation {
    double percent = 80, seconds = 10;
  };
  std::optional<Utilisation> utilisation;
};

struct BreakerOptions {
  int failures = 3;  // within the window: open
  double window_s = 300, open_s = 60;
};

struct LimitOptions {
  int queue = 64;            // accepted and not over, whatever the deadline
  int rate_per_minute = 30;  // of one key or address
  int rate_keys = 10'000;    // remembered at once
  int connections = 256, connections_per_address = 16;
  double deadline_s = 120;  // of wishes that name none
};

struct CacheLimits {
  int64_t max_bytes = 0, max_entries = 0;
  double ttl_s = 0;
};

struct CacheOptions {
  CacheLimits result, edit_template;
  int64_t embedding_bytes = 64 << 20;
};

struct ServerConfig {
  std::vector<ModelEntry> models;  // at least one; the first is the default
  RoutingRules routing;
  BrownOutOptions brown_out;
  BreakerOptions breaker;
  LimitOptions limits;
  CacheOptions cache;

  const ModelEntry* find(std::string_view id) const;  // null: no such model
  // Another checkpoint in the place of the first model's, and of every other entry that reads the same path.
  void replace_checkpoint(const std::string& path);
};

// A closed schema: an unknown field, a wrong type or a value out of range throws ArgumentError naming its path
// ("models[1].kind"). Absent sections and fields keep the defaults above; `models` must be there.
ServerConfig parse_config(const nlohmann::json& json);
ServerConfig load_config(const std::filesystem::path& file);  // ArgumentError also when unreadable or no JSON
ServerConfig default_config();                                // the built-in file

}  // namespace inkling::server
