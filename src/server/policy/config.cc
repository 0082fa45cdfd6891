#include "server/policy/config.h"

#include <array>
#include <fstream>
#include <iterator>
#include <set>

#include "base/embedded.h"
#include "base/error.h"

namespace inkling::server {

using nlohmann::json;

namespace {

constexpr std::array<std::string_view, 4> kKinds = {"full", "4bit", "distilled", "cpu"};
constexpr std::array<std::string_view, 4> kActions = {"fewer_steps", "smaller", "lighter_model", "refuse"};
constexpr double kLeaveWithin = 30;  // seconds in which a quiet server is back to normal
constexpr int64_t kMaxBytes = int64_t{1} << 50;

[[noreturn]] void fail(const std::string& path, const std::string& got, const std::string& expected) {
  throw ArgumentError("{}: got {}, expected {}", path.empty() ? "config" : path, got, expected);
}

// Shows the start of a value: a whole section in a message helps nobody.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

// One object of the file. Every field that is read is known; finish() rejects all others.
class Section {
 public:
  Section(const json& value, std::string path) : value_(value), path_(std::move(path)) {
    if (!value.is_object()) fail(path_, shown(value), "an object");
  }

  const json* take(const char* field) {
    known_.insert(field);
    const auto found = value_.find(field);
    return found == value_.end() ? nullptr : &*found;
  }
  std::string at(const char* field) const { return path_.empty() ? field : path_ + "." + field; }

  void read(const char* field, std::string& out) {
    if (const json* v = take(field)) {
      if (!v->is_string()) fail(at(field), shown(*v), "a string");
      out = v->get<std::string>();
    }
  }
  void read(const char* field, bool& out) {
    if (const json* v = take(field)) {
      if (!v->is_boolean()) fail(at(field), shown(*v), "true or false");
      out = v->get<bool>();
    }
  }
  void read(const char* field, double& out, double low, double high) {
    if (const json* v = take(field)) {
      if (!v->is_number() || !(v->get<double>() >= low && v->get<double>() <= high))
        fail(at(field), shown(*v), fmt::format("a number in {}..{}", low, high));
      out = v->get<double>();
    }
  }
  template <std::signed_integral T>
  void read(const char* field, T& out, int64_t low, int64_t high) {
    if (const json* v = take(field)) {
      const bool fits = v->is_number_integer() && !(v->is_number_unsigned() && v->get<uint64_t>() > INT64_MAX);
      if (!fits || v->get<int64_t>() < low || v->get<int64_t>() > high)
        fail(at(field), shown(*v), fmt::format("an integer in {}..{}", low, high));
      out = static_cast<T>(v->get<int64_t>());
    }
  }
  template <size_t N>
  size_t choice(const char* field, const std::array<std::string_view, N>& names) {
    std::string value, expected;
    read(field, value);
    for (size_t i = 0; i < N; ++i) {
      if (names[i] == value) return i;
      expected += (i ? ", " : "one of ") + std::string(names[i]);
    }
    fail(at(field), value_.contains(field) ? '"' + value + '"' : "nothing", expected);
  }
  void finish() const {
    for (const auto& [field, value] : value_.items())
      if (!known_.contains(field)) throw ArgumentError("{}: unknown field", at(field.c_str()));
  }

 private:
  const json& value_;
  const std::string path_;
  std::set<std::string, std::less<>> known_;
};

ModelEntry parse_model(const json& value, const std::string& path) {
  ModelEntry m;
  Section s(value, path);
  s.read("id", m.id);
  if (m.id.empty() || m.id == "auto") fail(s.at("id"), shown(m.id), "a name other than \"auto\"");
  m.kind = static_cast<ModelKind>(s.choice("kind", kKinds));
  s.read("path", m.path);
  if (m.path.empty()) fail(s.at("path"), "\"\"", "a path or \"shipped\"");
  s.read("precision", m.precision);
  m.device = m.kind == ModelKind::cpu ? "cpu" : "auto";
  s.read("device", m.device);
  if (m.device != "auto" && m.device != "gpu" && m.device != "cpu") fail(s.at("device"), m.device, "auto, gpu or cpu");
  if (m.kind == ModelKind::cpu && m.device == "gpu") fail(s.at("device"), "gpu", "cpu for the kind cpu");
  s.read("needs_bytes", m.needs_bytes, 0, kMaxBytes);
  s.read("text", m.text);
  s.read("edit", m.edit);
  if (!m.text && !m.edit) fail(path, "a model for neither text nor edits", "at least one of the two");
  s.read("side", m.side, 16, 4096);
  if (m.side % 16 != 0) fail(s.at("side"), std::to_string(m.side), "a multiple of 16");
  s.read("min_side", m.min_side, 16, 4096);
  s.read("steps", m.steps, 1, 100);
  s.read("passes", m.passes, 1, 2);
  const json* seconds = s.take("seconds");
  if (!seconds) fail(s.at("seconds"), "nothing", "an object");
  Section times(*seconds, s.at("seconds"));
  times.read("text", m.text_s, 0.001, 86400);
  times.read("edit", m.edit_s, 0.001, 86400);
  if (m.text && m.text_s == 0) fail(times.at("text"), "nothing", "seconds of one picture");
  if (m.edit && m.edit_s == 0) fail(times.at("edit"), "nothing", "seconds of one edit");
  times.finish();
  s.finish();
  return m;
}

RoutingRules parse_routing(const json& value) {
  RoutingRules r;
  Section s(value, "routing");
  s.read("reserve_bytes", r.reserve_bytes, 0, kMaxBytes);
  s.read("deadline_ratio", r.deadline_ratio, 0.01, 100);
  if (const json* frequency = s.take("frequency")) {
    Section f(*frequency, "routing.frequency");
    f.read("window_s", r.frequency_window_s, 1, 86400);
    f.read("count", r.frequency_count, 0, 1'000'000);
    f.finish();
  }
  s.finish();
  return r;
}

BrownOutRow parse_row(const json& value, const std::string& path, const ServerConfig& config) {
  BrownOutRow row;
  Section s(value, path);
  row.action = static_cast<BrownOutAction>(s.choice("action", kActions));
  s.read("enter", row.enter, 0.01, 1000);
  s.read("leave", row.leave, 0, 1000);
  if (row.enter == 0) fail(s.at("enter"), "nothing", "predicted wait / deadline");
  if (row.leave >= row.enter)
    fail(s.at("leave"), fmt::format("{}", row.leave), fmt::format("less than enter, {}", row.enter));
  switch (row.action) {
    case BrownOutAction::fewer_steps:
      s.read("factor", row.factor, 0.01, 1);
      s.read("minimum", row.minimum, 1, 100);
      break;
    case BrownOutAction::smaller: s.read("side", row.side, 32, 4096); break;
    case BrownOutAction::lighter_model:
      s.read("model", row.model);
      if (!row.model.empty() && !config.find(row.model)) fail(s.at("model"), row.model, "the id of a model above");
      break;
    case BrownOutAction::refuse: break;
  }
  s.finish();
  return row;
}

BrownOutOptions parse_brown_out(const json& value, const ServerConfig& config) {
  BrownOutOptions b;
  Section s(value, "brown_out");
  s.read("quiet_s", b.quiet_s, 0.1, kLeaveWithin);
  if (const json* u = s.take("utilisation"); u && !u->is_null()) {
    b.utilisation = BrownOutOptions::Utilisation{};
    Section t(*u, "brown_out.utilisation");
    t.read("percent", b.utilisation->percent, 1, 100);
    t.read("seconds", b.utilisation->seconds, 0, 3600);
    t.finish();
  }
  if (const json* ladder = s.take("ladder")) {
    if (!ladder->is_array() || ladder->size() > 16)
      fail("brown_out.ladder", shown(*ladder), "a list of at most 16 rows");
    for (const json& row : *ladder) {
      const std::string path = fmt::format("brown_out.ladder[{}]", b.ladder.size());
      b.ladder.push_back(parse_row(row, path, config));
      if (b.ladder.size() > 1 && b.ladder.back().enter < b.ladder[b.ladder.size() - 2].enter)
        fail(path + ".enter", fmt::format("{}", b.ladder.back().enter), "no less than that of the row before");
    }
  }
  if (b.quiet_s * static_cast<double>(b.ladder.size()) > kLeaveWithin)
    fail("brown_out.quiet_s", fmt::format("{}", b.quiet_s),
         fmt::format("at most {} s in all for {} rows", kLeaveWithin, b.ladder.size()));
  s.finish();
  return b;
}

LimitOptions parse_limits(const json& value) {
  LimitOptions l;
  Section s(value, "limits");
  s.read("queue", l.queue, 1, 10'000);
  s.read("rate_per_minute", l.rate_per_minute, 0, 100'000);
  s.read("rate_keys", l.rate_keys, 1, 10'000'000);
  s.read("connections", l.connections, 1, 100'000);
  s.read("connections_per_address", l.connections_per_address, 1, 100'000);
  s.read("deadline_s", l.deadline_s, 1, 3600);
  s.finish();
  return l;
}

CacheLimits parse_cache_limits(const json& value, const std::string& path, CacheLimits l) {
  Section s(value, path);
  s.read("max_bytes", l.max_bytes, 0, kMaxBytes);
  s.read("max_entries", l.max_entries, 0, 10'000'000);
  s.read("ttl_s", l.ttl_s, 1, 10.0 * 365 * 86400);
  s.finish();
  return l;
}

}  // namespace

std::string_view name(ModelKind kind) { return kKinds[static_cast<size_t>(kind)]; }

const ModelEntry* ServerConfig::find(std::string_view id) const {
  for (const ModelEntry& m : models)
    if (m.id == id) return &m;
  return nullptr;
}

void ServerConfig::replace_checkpoint(const std::string& path) {
  const std::string old = models.front().path;
  for (ModelEntry& m : models)
    if (m.path == old) m.path = path;
}

ServerConfig parse_config(const json& value) {
  ServerConfig config;
  config.cache.result = {.max_bytes = int64_t{512} << 20, .max_entries = 10'000, .ttl_s = 86400};
  config.cache.edit_template = {.max_bytes = int64_t{128} << 20, .max_entries = 2'000, .ttl_s = 7 * 86400};
  Section s(value, "");
  const json* models = s.take("models");
  if (!models || !models->is_array() || models->empty() || models->size() > 64)
    fail("models", models ? shown(*models) : "nothing", "a list of 1..64 models");
  for (const json& m : *models) {
    const std::string path = fmt::format("models[{}]", config.models.size());
    ModelEntry entry = parse_model(m, path);
    if (config.find(entry.id)) fail(path + ".id", entry.id, "an id of its own");
    config.models.push_back(std::move(entry));
  }
  if (const json* v = s.take("routing")) config.routing = parse_routing(*v);
  if (const json* v = s.take("brown_out")) config.brown_out = parse_brown_out(*v, config);
  if (const json* v = s.take("breaker")) {
    Section b(*v, "breaker");
    b.read("failures", config.breaker.failures, 1, 1000);
    b.read("window_s", config.breaker.window_s, 1, 86400);
    b.read("open_s", config.breaker.open_s, 0.01, 86400);
    b.finish();
  }
  if (const json* v = s.take("limits")) config.limits = parse_limits(*v);
  if (const json* v = s.take("cache")) {
    Section c(*v, "cache");
    if (const json* r = c.take("result"))
      config.cache.result = parse_cache_limits(*r, "cache.result", config.cache.result);
    if (const json* t = c.take("template"))
      config.cache.edit_template = parse_cache_limits(*t, "cache.template", config.cache.edit_template);
    c.read("embedding_bytes", config.cache.embedding_bytes, 0, kMaxBytes);
    c.finish();
  }
  s.finish();
  return config;
}

ServerConfig load_config(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw ArgumentError("{}: cannot be opened", file.string());
  const json value =
      json::parse(std::string(std::istreambuf_iterator<char>(in), {}), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) throw ArgumentError("{}: is no JSON", file.string());
  try {
    return parse_config(value);
  } catch (const ArgumentError& e) {
    throw ArgumentError("{}: {}", file.string(), e.what());
  }
}

ServerConfig default_config() { return parse_config(json::parse(embedded_bytes(embedded_server(), "models.json"))); }

}  // namespace inkling::server
