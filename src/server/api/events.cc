#include "server/api/events.h"

#include <chrono>
#include <map>

#include "base/error.h"
#include "server/api/base64.h"
#include "server/api/json_input.h"

namespace inkling::server {

namespace {

constexpr size_t kSubscriptions = 64;  // jobs that one WebSocket hears of

struct Message {
  std::string event;
  nlohmann::json data;
  bool droppable = false;  // previews, when the client is slow
};

Message describe(const Service& service, const Job& job, const Job::Event& event) {
  if (event.kind == Job::Event::Kind::preview)
    return {"preview",
            {{"step", event.step},
             {"steps", job.steps},
             {"image", "data:image/jpeg;base64," + base64_encode(*event.preview)}},
            true};
  const std::string kind = is_over(job.status)               ? std::string(name(job.status))
                           : job.status == JobStatus::queued ? "queued"
                                                             : "progress";
  return {kind, service.job_json(job), false};
}

Message present_state(const Service& service, const Job& job) {
  return describe(service, job, {Job::Event::Kind::progress, 0, nullptr});
}

std::string dump(const nlohmann::json& j) { return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); }

}  // namespace

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void stream_job_events(Service& service, const JobPointer& job, const std::shared_ptr<Responder>& responder) {
  HttpResponse head;
  head.content_type = "text/event-stream";
  head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  const std::shared_ptr<HttpStream> stream = responder->stream(head);
  const auto send = [stream](const Message& m) {
    stream->write("event: " + m.event + "\ndata: " + dump(m.data) + "\n\n", m.droppable);
  };
  send(present_state(service, *job));
  if (is_over(job->status)) return stream->close();
  const uint64_t number = service.board().listen(job, [&service, send, stream](const Job& j, const Job::Event& event) {
    send(describe(service, j, event));
    if (is_over(j.status)) stream->close();
  });
  stream->on_close([&service, weak = std::weak_ptr(job), number] {
    if (const JobPointer still = weak.lock()) service.board().unlisten(still, number);
  });
}

void serve_job_websocket(Service& service, const std::string& owner, const std::shared_ptr<HttpStream>& stream) {
  const auto listening = std::make_shared<std::map<std::string, std::pair<std::weak_ptr<Job>, uint64_t>>>();
  const auto send = [weak = std::weak_ptr(stream)](const std::string& id, const Message& m) {
    if (const auto s = weak.lock()) s->write(dump({{"event", m.event}, {"job_id", id}, {"data", m.data}}), m.droppable);
  };
  stream->on_message([&service, owner, listening, send](const std::string& text) {
    std::string id;
    try {
      const nlohmann::json message = parse_json(text);
      if (!message.is_object() || !message.contains("subscribe") || !message["subscribe"].is_string())
        throw ArgumentError("subscribe: expected the id of a job");
      id = message["subscribe"];
      const JobPointer job = service.board().find(id, owner);
      if (job == nullptr) return send(id, {"error", not_found("job").json(), false});
      if (listening->contains(id)) return;
      if (listening->size() >= kSubscriptions)
        throw ArgumentError("subscribe: at most {} jobs at a time", kSubscriptions);
      send(id, present_state(service, *job));
      if (is_over(job->status)) return;
      const uint64_t number =
          service.board().listen(job, [&service, id, listening, send](const Job& j, const Job::Event& e) {
            send(id, describe(service, j, e));
            if (is_over(j.status)) listening->erase(id);
          });
      (*listening)[id] = {job, number};
    } catch (const ArgumentError& e) {
      send(id, {"error", bad_request(e.what()).json(), false});
    }
  });
  stream->on_close([&service, listening] {
    for (const auto& [id, entry] : *listening)
      if (const JobPointer job = entry.first.lock()) service.board().unlisten(job, entry.second);
    listening->clear();
  });
}

}  // namespace inkling::server
