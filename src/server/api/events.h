// What becomes of a job, told as it happens: server-sent events or a WebSocket.
#pragma once

#include "server/http/http.h"
#include "server/service.h"

namespace inkling::server {

// First the present state, then every change; ends with the job.
void stream_job_events(Service& service, const JobPointer& job, const std::shared_ptr<Responder>& responder);
// {"subscribe": "job_..."} from the client; {"event", "job_id", "data"} to it.
void serve_job_websocket(Service& service, const std::string& owner, const std::shared_ptr<HttpStream>& stream);

double unix_seconds();

}  // namespace inkling::server
