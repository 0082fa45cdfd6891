#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "server/monitor/gpu_load.h"
#include "server/monitor/history.h"
#include "server/monitor/log.h"
#include "server/monitor/metrics.h"

namespace inkling::server {
namespace {

using nlohmann::json;

TEST(Percentiles, NearestRankOfTheLastOnes) {
  Percentiles p(100, 600);
  EXPECT_EQ(p.values(0).count, 0U);
  for (int i = 1; i <= 200; ++i) p.add(i, 0);
  const auto v = p.values(0);
  EXPECT_EQ(v.count, 100U);
  EXPECT_EQ(v.p50, 150);
  EXPECT_EQ(v.p95, 195);
  EXPECT_EQ(v.p99, 199);
  EXPECT_EQ(p.values(601).count, 0U) << "too old";
  p.add(std::nan(""), 1);
  EXPECT_EQ(p.values(1).count, 100U);
}

TEST(History, ARowEvery5sAndSixtyOfThem) {
  History h;
  for (int i = 0; i < 4000; ++i) h.sample(i * 0.1, 1e9 + i * 0.1, 3, 1, 2.5, static_cast<uint64_t>(i / 10));
  const json rows = h.json();
  ASSERT_EQ(rows.size(), 60U);
  EXPECT_NEAR(rows[59]["t"].get<double>() - rows[58]["t"].get<double>(), 5, 0.11);
  EXPECT_NEAR(rows[59]["done_per_min"].get<double>(), 60, 0.5);
  EXPECT_EQ(rows[0]["waiting"], 3);
  EXPECT_EQ(rows[0]["p95_s"], 2.5);
}

size_t lines_with(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

TEST(Metrics, NamesOfTheContract) {
  Metrics m({"inkling"}, {"cuda:0"});
  m.request("native", "inkling", "done", 2, 0);
  m.request("openai", "inkling", "rejected", 0.001, 0);
  m.queue_wait(1, 0);
  m.step("inkling", 0.05);
  m.jobs(1, 2);
  m.device_memory("cuda:0", 1024);
  m.gpu_utilisation("cuda:0", 50);
  m.resident_memory(2048);
  m.cache("result", true);
  m.cache("result", false);
  m.out_of_memory();
  m.breaker_state("cuda:0", 1);
  m.safety_block("horror");
  m.degraded(2);
  m.degrade_level(2);
  m.worker_restart("cuda:0");
  m.http_request("/v1/jobs", 202, 0.002);
  const std::string text = m.text();
  for (const char* line :
       {R"(inkling_requests_total{api="native",model="inkling",outcome="done"} 1)",
        R"(inkling_request_duration_seconds_count{api="native",model="inkling"} 1)", "inkling_queue_wait_seconds_sum 1",
        R"(inkling_step_duration_seconds_count{model="inkling"} 1)", "inkling_jobs_running 1", "inkling_jobs_waiting 2",
        R"(inkling_device_memory_bytes{device="cuda:0"} 1024)", R"(inkling_gpu_utilisation_ratio{device="cuda:0"} 0.5)",
        R"(inkling_cache_hits_total{cache="result"} 1)", R"(inkling_cache_misses_total{cache="result"} 1)",
        "inkling_oom_total 1", R"(inkling_breaker_state{device="cuda:0"} 1)",
        R"(inkling_safety_blocks_total{category="horror"} 1)", R"(inkling_degraded_total{level="2"} 1)",
        R"(inkling_worker_restarts_total{device="cuda:0"} 1)",
        R"(inkling_http_requests_total{route="/v1/jobs",status="202"} 1)"})
    EXPECT_NE(text.find(line), std::string::npos) << line;
  EXPECT_EQ(m.latency(1).count, 1U) << "only done wishes";
  EXPECT_EQ(m.latency(1).p95, 2);
  EXPECT_EQ(m.queue(1).p50, 1);
}

TEST(Metrics, NoClientMakesSeries) {
  Metrics m({"inkling"}, {"cpu"});
  for (int i = 0; i < 1000; ++i) {
    const std::string any = fmt::format("x\"\n{}", i);
    m.request(any, any, any, 1, 0);
    m.step(any, 1);
    m.cache(any, true);
    m.safety_block(any);
    m.breaker_state(any, 0);
    m.worker_restart(any);
    m.device_memory(any, 1);
    m.degraded(i);
    m.http_request(fmt::format("/{}", i), i, 0.1);
  }
  const std::string text = m.text();
  EXPECT_EQ(lines_with(text, "inkling_requests_total{"), 1U);
  EXPECT_EQ(lines_with(text, "inkling_safety_blocks_total{"), 1U);
  EXPECT_EQ(lines_with(text, "inkling_breaker_state{"), 2U);
  EXPECT_EQ(lines_with(text, "inkling_degraded_total{"), 17U);
  EXPECT_EQ(lines_with(text, "inkling_http_request_duration_seconds_count{"), 65U);
}

class LogFile {
 public:
  LogFile() : path_(std::filesystem::temp_directory_path() / ("inkling-log-" + std::to_string(getpid()) + ".jsonl")) {
    std::filesystem::remove(path_);
  }
  ~LogFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_; }
  std::vector<std::string> lines() const {
    std::ifstream in(path_);
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }

 private:
  std::filesystem::path path_;
};

TEST(Log, OneJsonLineAnEventWithoutPrompts) {
  LogFile file;
  Log log({.file = file.path(), .unix_now = [] { return 1764115200.5; }});
  log.write(LogLevel::info, "job",
            {{"request", "r1"},
             {"prompt", "secret"},
             {"wish", {{"instruction", "secret"}, {"n", 1}}},
             {"event", "forged"},
             {"list", {{{"prompt", "secret"}}}}});
  log.write(LogLevel::debug, "not shown");
  log.write(LogLevel::error, "odd", json("text"));
  const auto lines = file.lines();
  ASSERT_EQ(lines.size(), 2U);
  const json first = json::parse(lines[0]);
  EXPECT_EQ(first["ts"], "2025-11-26T00:00:00.500Z");
  EXPECT_EQ(first["level"], "info");
  EXPECT_EQ(first["event"], "job");
  EXPECT_EQ(first["request"], "r1");
  EXPECT_EQ(first["wish"], json({{"n", 1}}));
  EXPECT_EQ(lines[0].find("secret"), std::string::npos);
  EXPECT_EQ(json::parse(lines[1])["value"], "text");
}

TEST(Log, PromptsWhenAskedAndNoLineCanBeForged) {
  LogFile file;
  Log log({.file = file.path(), .prompts = true});
  std::string hostile = "a\n{\"level\":\"error\"}\r\x1b[31m\x7f\u2028\u0085\xff";
  hostile += '\0';
  log.write(LogLevel::warning, "job", {{"prompt", hostile}, {hostile, 1}});
  const auto lines = file.lines();
  ASSERT_EQ(lines.size(), 1U);
  for (const char c : lines[0]) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << int(c);
  EXPECT_EQ(json::parse(lines[0])["prompt"].get<std::string>().substr(0, 2), "a\n");
}

TEST(Log, NeverThrows) {
  Log full({.file = "/dev/full"});
  full.write(LogLevel::info, "lost");
  EXPECT_EQ(full.lost(), 1U);
  Log clock({.file = "/dev/null", .unix_now = []() -> double { throw RuntimeError("no clock"); }});
  clock.write(LogLevel::info, "lost");
  EXPECT_EQ(clock.lost(), 1U);
  EXPECT_THROW(Log({.file = "/nonexistent/log"}), ArgumentError);
}

TEST(GpuLoad, AbsentDriverIsNothing) {
  for (const char* library : {"libinkling-no-such.so.1", "libc.so.6"}) {  // none; one without NVML's functions
    const GpuLoad load("", library);
    EXPECT_FALSE(load.available());
    EXPECT_FALSE(load.sample(0));
  }
}

TEST(GpuLoad, SampleIsPlausibleWhereThereIsADriver) {
  const GpuLoad load;
  if (!load.available()) GTEST_SKIP() << "no NVML";
  const auto s = load.sample(0);
  ASSERT_TRUE(s);
  EXPECT_GE(s->utilisation, 0);
  EXPECT_LE(s->utilisation, 100);
  EXPECT_GT(s->total_bytes, 0);
  EXPECT_LE(s->used_bytes + s->free_bytes, s->total_bytes + (int64_t{2} << 30));
  EXPECT_FALSE(load.sample(-1));
  EXPECT_FALSE(load.sample(1000));
}

TEST(ResidentBytes, OfThisProcess) {
  const auto bytes = resident_bytes();
  ASSERT_TRUE(bytes);
  EXPECT_GT(*bytes, 1 << 20);
  EXPECT_EQ(resident_bytes(getpid()).has_value(), true);
  EXPECT_FALSE(resident_bytes(999'999'999));
}

}  // namespace
}  // namespace inkling::server
