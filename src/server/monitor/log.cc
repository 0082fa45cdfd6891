#include "server/monitor/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <ctime>

#include "base/error.h"

namespace inkling::server {

using nlohmann::json;

namespace {

constexpr std::string_view kLevels[] = {"debug", "info", "warning", "error"};

double system_unix() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string timestamp(double unix_seconds) {
  const double whole = std::floor(unix_seconds);
  const auto seconds = static_cast<std::time_t>(whole);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, static_cast<int>((unix_seconds - whole) * 1000));
}

void drop_prompts(json& value) {
  if (value.is_object())
    for (const char* field : {"prompt", "negative_prompt", "instruction"}) value.erase(field);
  if (value.is_structured())
    for (json& child : value) drop_prompts(child);
}

}  // namespace

Log::Log(LogOptions options) : options_(std::move(options)) {
  if (options_.file.empty()) return;
  descriptor_ = open(options_.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (descriptor_ < 0) throw ArgumentError("log file {}: cannot be opened", options_.file);
}

Log::~Log() {
  if (descriptor_ != 2) close(descriptor_);
}

void Log::write(LogLevel level, std::string_view event, json fields) noexcept {
  if (level < options_.level) return;
  try {
    if (!fields.is_object()) fields = json{{"value", std::move(fields)}};
    if (!options_.prompts) drop_prompts(fields);
    // Ours come first and cannot be overwritten by a field of the same name.
    nlohmann::ordered_json line;
    line["ts"] = timestamp(options_.unix_now ? options_.unix_now() : system_unix());
    line["level"] = kLevels[static_cast<size_t>(level)];
    line["event"] = std::string(event);
    for (auto& [name, value] : fields.items())
      if (!line.contains(name)) line[name] = value;
    // In ASCII: DEL, C1 and the Unicode line separators cannot act on a terminal or split a line either.
    std::string text = line.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::ordered_json::error_handler_t::replace);
    for (size_t at; (at = text.find('\x7f')) != std::string::npos;) text.replace(at, 1, "\\u007f");
    text += '\n';
    // One write a line: lines of several processes in one file do not mix.
    ssize_t n;
    do n = ::write(descriptor_, text.data(), text.size());
    while (n < 0 && errno == EINTR);
    if (n != static_cast<ssize_t>(text.size())) ++lost_;
  } catch (...) {  // out of memory or an impossible time: the service goes on
    ++lost_;
  }
}

}  // namespace inkling::server
