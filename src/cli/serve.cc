// inkling serve, and the processes that it starts: workers, and their decoders of uploads.

#include <sys/prctl.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/state_folder.h"
#include "server/app.h"
#include "server/worker/decoder.h"
#include "server/worker/worker.h"

namespace inkling::cli {

namespace {

// "127.0.0.1:7860", "[::1]:7860", "7860" or "0.0.0.0"
void read_listen(const std::string& text, server::ServeOptions& options) {
  std::string address = text, port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string::npos) throw ArgumentError("listen: '{}' lacks a closing bracket", text);
    address = text.substr(1, end - 1);
    if (end + 1 < text.size() && text[end + 1] == ':') port = text.substr(end + 2);
  } else if (const size_t colon = text.rfind(':'); colon != std::string::npos) {
    address = text.substr(0, colon);
    port = text.substr(colon + 1);
  } else if (text.find('.') == std::string::npos) {
    address = "127.0.0.1";
    port = text;
  }
  if (!port.empty()) {
    const long number =
        port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos ? std::stol(port) : -1;
    if (number < 0 || number > 65535) throw ArgumentError("listen: '{}' is no port, expected 0 to 65535", port);
    options.port = static_cast<uint16_t>(number);
  }
  options.access.address = address == "localhost" ? "127.0.0.1" : address;
}

}  // namespace

int run_serve(const CommandLine& line) {
  const OptionValues& o = line.options;
  server::ServeOptions options;
  read_listen(o.text("listen"), options);
  options.access.keys = o.list("api-key");
  options.access.allowed_hosts = o.list("allow-host");
  options.drain_seconds = *o.real("drain");
  options.web_root = o.text("web-root");
  options.port_file = o.text("port-file");
  if (!options.web_root.empty() && !std::filesystem::is_directory(options.web_root))
    throw ArgumentError("web-root: the folder {} does not exist", options.web_root);
  server::ServiceOptions& s = options.service;
  s.profile = o.text("profile");
  s.config_file = o.text("config");
  s.model = o.text("model");
  s.device = o.text("device");
  s.max_vram = o.text("max-vram");
  s.precision = o.text("precision");
  s.state_folder = state_folder(o);
  s.deadline_s = o.real("deadline");
  s.synthetic_ms = *o.real("synthetic-step-ms");
  s.synthetic_faults = o.text("synthetic-faults");
  s.cpu_fallback = o.text("cpu-fallback") == "on" || (o.text("cpu-fallback") == "auto" && s.device == "auto");
  s.batch = static_cast<size_t>(*o.integer("max-batch"));
  if (const auto rate = o.integer("rate-limit")) s.rate_per_minute = static_cast<int>(*rate);
  s.worker_silence_s = *o.real("worker-silence");
  s.threads = static_cast<int>(*o.integer("threads"));
  s.safety = o.text("safety") == "on";
  s.log_prompts = o.flag("log-prompts");
  s.log_file = o.text("log-file");
  // The server drains on these by itself.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  return server::serve(options);
}

int run_worker(const CommandLine& line) {
  const OptionValues& o = line.options;
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // no worker outlives its server, however that ended
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, SIG_DFL);
  server::WorkerOptions options;
  options.socket = static_cast<int>(*o.integer("link"));
  options.device = o.text("device");
  options.max_vram = o.text("max-vram");
  options.threads = static_cast<int>(*o.integer("threads"));
  options.safety = o.text("safety") == "on";
  options.synthetic_ms = *o.real("synthetic-step-ms");
  options.synthetic_faults = o.text("synthetic-faults");
  server::run_worker(options);
}

int run_decode(const CommandLine& line) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return server::run_decoder(static_cast<int>(*line.options.integer("link")));
}

}  // namespace inkling::cli
