// The server as one thing: HTTP, access rules, routes, service, clock, signals.
#pragma once

#include <string>
#include <vector>

#include "server/api/access.h"
#include "server/http/http.h"
#include "server/service.h"

namespace inkling::server {

struct ServeOptions {
  ServiceOptions service;
  AccessOptions access;
  uint16_t port = 7860;
  double drain_seconds = 60;
  std::string web_root;
  std::string port_file;  // receives the port, for scripts that ask for port 0
};

// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once. Returns the exit code.
int serve(const ServeOptions& options);

}  // namespace inkling::server
