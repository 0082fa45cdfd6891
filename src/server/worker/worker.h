// The process that draws: holds the models of one device, takes wishes from the server over a socket, sends progress,
// previews and pictures. All that touches a model, a GPU or an uploaded picture happens here (uploads are decoded by
// a process that this one starts, see decoder.h), so that whatever goes wrong with them never ends the server.
//
// From the server: {"type":"run","jobs":[{"id","request"}],"model":{...}}, {"type":"cancel","id"}, {"type":"ping"}.
// To the server: "ready", "progress", "preview", "done", "failed", "idle" (the batch is over), "pong".
#pragma once

#include <string>

namespace inkling::server {

struct WorkerOptions {
  int socket = 3;  // descriptor of the link
  std::string device = "cpu";
  std::string max_vram;     // as the flag; empty: what is free
  int threads = 0;          // 0: all cores
  bool safety = true;       // look at uploads and results of the children's profile
  double synthetic_ms = 0;  // > 0: no model; every step takes this long and the picture is a colour ramp (load tests)
  std::string synthetic_faults;  // file, see make_synthetic_drawer
};

// Runs until the link closes (the process then ends with code 0) or the device can no longer be trusted (code 70).
[[noreturn]] void run_worker(const WorkerOptions& options);

}  // namespace inkling::server
