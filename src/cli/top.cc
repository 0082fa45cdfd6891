// inkling top: the state of a server in the terminal, once a second.

#include <fmt/format.h>

#include <boost/asio/ip/tcp.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "cli/commands.h"

namespace inkling::cli {

namespace {

using nlohmann::json;

struct Target {
  std::string host, port = "80", key;
};

Target parse_url(const std::string& url, const std::string& key) {
  if (!url.starts_with("http://")) throw ArgumentError("url: got '{}', expected http://HOST:PORT", url);
  Target t;
  t.host = url.substr(7, url.find('/', 7) - 7);
  if (const size_t colon = t.host.rfind(':');
      colon != std::string::npos && t.host.find(']', colon) == std::string::npos) {
    t.port = t.host.substr(colon + 1);
    t.host.resize(colon);
  }
  t.key = key;
  return t;
}

json fetch_stats(const Target& t) {
  boost::asio::ip::tcp::iostream stream;
  stream.expires_after(std::chrono::seconds(5));
  std::string name = t.host;
  std::erase_if(name, [](char c) { return c == '[' || c == ']'; });
  stream.connect(name, t.port);
  if (!stream) throw RuntimeError("no server answers at {}:{}: {}", t.host, t.port, stream.error().message());
  // HTTP/1.0: the answer comes whole and the connection ends.
  stream << "GET /v1/stats HTTP/1.0\r\nHost: " << t.host << ':' << t.port << "\r\n";
  if (!t.key.empty()) stream << "Authorization: Bearer " << t.key << "\r\n";
  stream << "\r\n" << std::flush;
  const std::string answer((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  const size_t body = answer.find("\r\n\r\n");
  if (body == std::string::npos) throw RuntimeError("{}:{} does not speak HTTP", t.host, t.port);
  if (answer.find(" 401 ") < 16) throw ArgumentError("key: the server asks for an API key: --key KEY or INKLING_KEY");
  json stats = json::parse(answer.begin() + static_cast<ptrdiff_t>(body) + 4, answer.end(), nullptr, false);
  if (!stats.is_object() || !stats.contains("queue")) throw RuntimeError("{}:{} is no inkling server", t.host, t.port);
  return stats;
}

std::string bar(double value, double most, size_t width) {
  const auto full =
      static_cast<size_t>(most <= 0 ? 0 : std::clamp(value / most, 0.0, 1.0) * static_cast<double>(width));
  return std::string(full, '#') + std::string(width - full, '.');
}

std::string screen(const json& s) {
  const json &queue = s["queue"], &latency = s["latency"], &totals = s["totals"];
  const auto number = [](const json& j, const char* key) {
    return j.contains(key) && j[key].is_number() ? j[key].get<double>() : 0.0;
  };
  std::string out = fmt::format("inkling {}   up {:.0f} s\n\n", s.value("version", ""), number(s, "uptime_s"));
  for (const json& w : s["workers"]) {
    out += fmt::format("  {:<8} {:<9} breaker {:<9} restarts {:<3} {:.0f} MiB  {}\n", w.value("device", ""),
                       w.value("state", ""), w.value("breaker", ""), w.value("restarts", 0),
                       number(w, "memory_bytes") / 0x1p20, w.value("model", ""));
    if (const json gpu = w.value("gpu", json()); gpu.is_object())
      out += fmt::format("  {:<8} [{}] {:.0f} % busy, {:.0f} of {:.0f} MiB used\n", "",
                         bar(number(gpu, "utilisation"), 100, 30), number(gpu, "utilisation"),
                         number(gpu, "used_bytes") / 0x1p20, number(gpu, "total_bytes") / 0x1p20);
  }
  out += fmt::format("\n  line     [{}] {:.0f} waiting, {:.0f} running, {:.1f} s ahead\n",
                     bar(number(queue, "waiting"), number(queue, "limit"), 30), number(queue, "waiting"),
                     number(queue, "running"), number(queue, "predicted_wait_s"));
  out += fmt::format("  latency  p50 {:.2f} s   p95 {:.2f} s   p99 {:.2f} s   in line p95 {:.2f} s   a step {:.3f} s\n",
                     number(latency, "p50_s"), number(latency, "p95_s"), number(latency, "p99_s"),
                     number(latency, "queue_p95_s"), number(s, "step_s"));
  out += fmt::format(
      "  jobs     {:.0f} accepted  {:.0f} done  {:.0f} failed  {:.0f} cancelled  {:.0f} refused  {:.0f} turned away\n",
      number(totals, "accepted"), number(totals, "done"), number(totals, "failed"), number(totals, "cancelled"),
      number(totals, "refused"), number(totals, "rejected"));
  for (const auto& [name, cache] : s["cache"].items())
    out += fmt::format("  cache    {:<10} {:.0f} hits  {:.0f} misses\n", name, number(cache, "hits"),
                       number(cache, "misses"));
  if (const json& degrade = s["degrade"]; number(degrade, "level") > 0)
    out += fmt::format("  degraded level {:.0f}: {}\n", number(degrade, "level"), degrade.value("reason", ""));
  return out;
}

}  // namespace

int run_top(const CommandLine& line) {
  const Target target = parse_url(line.options.text("url"), line.options.text("key"));
  if (line.options.flag("once")) {
    fmt::print("{}", screen(fetch_stats(target)));
    return 0;
  }
  while (!line.cancel->cancelled()) {
    fmt::print("\x1b[H\x1b[2J{}\n  Ctrl-C ends\n", screen(fetch_stats(target)));
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  return 0;
}

}  // namespace inkling::cli
