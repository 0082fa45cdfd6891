#include "server/policy/config.h"

#include <gtest/gtest.h>

#include "base/embedded.h"
#include "base/error.h"

namespace inkling::server {
namespace {

using nlohmann::json;

json file() { return json::parse(embedded_bytes(embedded_server(), "models.json")); }

std::string error_of(const json& config) {
  try {
    parse_config(config);
  } catch (const ArgumentError& e) {
    return e.what();
  }
  return "";
}

TEST(Config, TheBuiltInFileIsWhatTheDocumentSays) {
  const ServerConfig c = default_config();
  ASSERT_EQ(c.models.size(), 3U);
  EXPECT_EQ(c.models[0].id, "inkling");
  EXPECT_EQ(c.models[1].kind, ModelKind::four_bit);
  EXPECT_EQ(c.models[2].device, "cpu");
  ASSERT_EQ(c.brown_out.ladder.size(), 4U);
  EXPECT_EQ(c.brown_out.ladder[1].side, 384);
  EXPECT_FALSE(c.brown_out.utilisation);
  EXPECT_EQ(c.limits.queue, 64);
  EXPECT_EQ(c.limits.rate_per_minute, 30);
  EXPECT_EQ(c.breaker.failures, 3);
}

TEST(Config, ErrorsNameThePath) {
  const auto with = [](const char* pointer, json value) {
    json c = file();
    c[json::json_pointer(pointer)] = std::move(value);
    return error_of(c);
  };
  EXPECT_EQ(with("/nonsense", 1), "nonsense: unknown field");
  EXPECT_EQ(with("/models/1/colour", 1), "models[1].colour: unknown field");
  EXPECT_EQ(with("/cache/result/ttl", 1), "cache.result.ttl: unknown field");
  const std::pair<const char*, json> wrong[] = {
      {"/models", json::array()},
      {"/models/0/id", "auto"},
      {"/models/1/id", "inkling"},
      {"/models/0/kind", "huge"},
      {"/models/0/needs_bytes", -1},
      {"/models/0/needs_bytes", 1.5},
      {"/models/0/needs_bytes", UINT64_MAX},
      {"/models/0/device", "tpu"},
      {"/models/0/side", 250},
      {"/models/0/seconds/text", "1"},
      {"/models/0/edit", 1},
      {"/routing/frequency/count", -1},
      {"/brown_out/quiet_s", 10},
      {"/brown_out/ladder/0/leave", 0.35},
      {"/brown_out/ladder/2/enter", 0.52},
      {"/brown_out/ladder/2/model", "nobody"},
      {"/brown_out/utilisation", 80},
      {"/breaker/failures", 0},
      {"/limits/queue", "64"},
      {"/limits/deadline_s", nullptr},
      {"/cache/template", 7},
  };
  for (const auto& [pointer, value] : wrong) {
    std::string path;  // /models/0/id -> models[0].id
    for (const auto& part : {std::string(pointer)})
      for (size_t at = 1; at < part.size();) {
        const size_t end = std::min(part.find('/', at), part.size());
        const std::string token = part.substr(at, end - at);
        path += isdigit(token[0]) ? "[" + token + "]" : (path.empty() ? "" : ".") + token;
        at = end + 1;
      }
    const std::string error = with(pointer, value);
    EXPECT_EQ(error.substr(0, path.size() + 1), path + ":") << pointer << ": " << error;
  }
}

TEST(Config, OtherRowsAreNotFieldsOfARow) {
  json c = file();
  c["brown_out"]["ladder"][3]["factor"] = 0.5;
  EXPECT_EQ(error_of(c), "brown_out.ladder[3].factor: unknown field");
}

TEST(Config, AnotherCheckpointReplacesEveryEntryOfTheFirstPath) {
  json j = file();
  j["models"][2]["path"] = "/elsewhere";
  ServerConfig c = parse_config(j);
  c.replace_checkpoint("/models/big");
  EXPECT_EQ(c.models[0].path, "/models/big");
  EXPECT_EQ(c.models[1].path, "/models/big");
  EXPECT_EQ(c.models[2].path, "/elsewhere");
}

TEST(Config, FilesThatAreNone) {
  EXPECT_THROW(load_config("/nonexistent/config.json"), ArgumentError);
  EXPECT_THROW(load_config("/dev/null"), ArgumentError);
}

}  // namespace
}  // namespace inkling::server
