// One JSON line an event: {"ts", "level", "event", ...fields}. Prompts are left out unless asked for; every control
// character is escaped, so no input can forge a line. Logging never throws and never stops the service.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace inkling::server {

enum class LogLevel : uint8_t { debug, info, warning, error };

struct LogOptions {
  std::string file;      // appended to; empty: standard error
  bool prompts = false;  // else the fields prompt, negative_prompt and instruction are dropped, at any depth
  LogLevel level = LogLevel::info;
  std::function<double()> unix_now{};  // empty: the system clock
};

class Log {
 public:
  explicit Log(LogOptions options = {});  // ArgumentError when the file cannot be opened
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void write(LogLevel level, std::string_view event, nlohmann::json fields = nlohmann::json::object()) noexcept;
  uint64_t lost() const { return lost_; }  // lines that could not be written

 private:
  const LogOptions options_;
  int descriptor_ = 2;
  uint64_t lost_ = 0;
};

}  // namespace inkling::server
