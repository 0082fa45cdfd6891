#include "server/api/native.h"

#include "base/error.h"
#include "server/api/events.h"
#include "server/api/json_input.h"

namespace inkling::server {

namespace {

constexpr uint64_t kBodyWithPictures = 32 << 20;  // three pictures of 6 MiB as base64, and a mask
constexpr size_t kJobsListed = 100;

// "width: got 7, expected ..." names its field.
ErrorAnswer explain(const ArgumentError& error) {
  const std::string text = error.what();
  const size_t colon = text.find(':');
  const bool field = colon != std::string::npos && text.find(' ') > colon;
  const bool too_large =
      text.find("larger than") != std::string::npos || text.find("too many pixels") != std::string::npos;
  ErrorAnswer answer = bad_request(text, field ? text.substr(0, colon) : "");
  if (too_large) answer.status = 413, answer.code = "too_large";
  return answer;
}

// Runs a route's function; what it throws about the request becomes an answer.
std::function<void(Call)> guarded(const std::function<void(const Call&)>& f) {
  return [f](const Call& call) {
    try {
      f(call);
    } catch (const ArgumentError& e) {
      call.answer(explain(e));
    }
  };
}

std::string picture_type(const std::string& format) { return "image/" + format; }

HttpResponse picture_response(const Blob& bytes, const std::string& format, const std::string& file) {
  HttpResponse r;
  r.content_type = picture_type(format);
  r.body = bytes;
  r.headers.emplace_back("Content-Disposition", "inline; filename=\"" + file + "." + format + "\"");
  r.headers.emplace_back("Cache-Control", "private, max-age=600");
  return r;
}

class NativeApi {
 public:
  explicit NativeApi(Service& service) : service_(service) {}

  void submit(const Call& call) const {
    submit_wish(call, parse_wish(parse_json(call.request.body), service_.limits()), {}, {});
  }

  void submit_wish(const Call& call, DrawRequest wish, const std::string& session, const std::string& parent) const {
    Service::Submission s;
    s.wish = std::move(wish);
    s.owner = call.owner;
    s.api = session.empty() ? "native" : "session";
    s.idempotency_key = call.request.header("idempotency-key");
    if (s.idempotency_key.size() > 255)
      throw ArgumentError("Idempotency-Key: has {} characters, at most 255 are taken", s.idempotency_key.size());
    s.request_id = call.request.id;
    s.trace_id = call.request.trace_id();
    s.session = session;
    s.node_parent = parent;
    const Service::Answer answer = service_.submit(std::move(s));
    if (answer.job == nullptr) return call.answer(answer.error);
    call.answer(answer.fresh && !is_over(answer.job->status) ? 202 : 200, service_.job_json(*answer.job));
  }

  JobPointer job_of(const Call& call) const {
    JobPointer job = service_.board().find(call.path.at("id"), call.owner);
    if (job == nullptr) call.answer(not_found("job (results are kept for ten minutes)"));
    return job;
  }

  void show(const Call& call) const {
    if (const JobPointer job = job_of(call)) call.answer(200, service_.job_json(*job));
  }

  void list(const Call& call) const {
    size_t count = 20;
    if (const std::string_view text = call.request.parameter("limit"); !text.empty()) {
      count = 0;
      for (const char c : text)
        count = c < '0' || c > '9' || count > kJobsListed ? kJobsListed + 1 : count * 10 + static_cast<size_t>(c - '0');
      if (count < 1 || count > kJobsListed)
        throw ArgumentError("limit: expected a number between 1 and {}", kJobsListed);
    }
    nlohmann::json jobs = nlohmann::json::array();
    for (const JobPointer& job : service_.board().newest(call.owner, count)) jobs.push_back(service_.job_json(*job));
    call.answer(200, {{"object", "list"}, {"data", jobs}});
  }

  void cancel(const Call& call) const {
    const JobPointer job = job_of(call);
    if (job == nullptr) return;
    service_.board().cancel(job);
    call.answer(200, service_.job_json(*job));
  }

  void picture(const Call& call) const {
    const JobPointer job = job_of(call);
    if (job == nullptr) return;
    const std::string& number = call.path.at("n");
    const size_t n =
        number.size() == 1 && number[0] >= '0' && number[0] <= '9' ? static_cast<size_t>(number[0] - '0') : 99;
    if (n >= job->pictures.size()) return call.answer(not_found("picture of this job"));
    call.responder->send(picture_response(job->pictures[n].bytes, job->wish.output_format, "inkling-" + number));
  }

  void events(const Call& call) const {
    if (const JobPointer job = job_of(call)) stream_job_events(service_, job, call.responder);
  }

  void websocket(const Call& call) const {
    if (!call.responder->is_websocket())
      return call.answer({.status = 426,
                          .message = "this route speaks WebSocket",
                          .type = "invalid_request_error",
                          .code = "upgrade_required"});
    serve_job_websocket(service_, call.owner, call.responder->websocket());
  }

  std::shared_ptr<Session> session_of(const Call& call) const {
    auto session = service_.sessions().find(call.path.at("id"), call.owner);
    if (session == nullptr) call.answer(not_found("session"));
    return session;
  }

  nlohmann::json session_json(const Session& session) const { return session.json(service_.sessions().limits().chain); }

  void create_session(const Call& call) const {
    const nlohmann::json body = parse_json(call.request.body);
    if (!body.is_object() || !body.contains("image") || !body["image"].is_string())
      throw ArgumentError("image: expected a data: URL or base64 string");
    for (const auto& [name, value] : body.items())
      if (name != "image") throw ArgumentError("{}: is not a field of this request", name.substr(0, 64));
    const Blob picture =
        decode_picture_text("image", body["image"].get_ref<const std::string&>(), service_.limits().image_bytes);
    call.answer(201, session_json(*service_.sessions().create(call.owner, picture, unix_seconds())));
  }

  void show_session(const Call& call) const {
    if (const auto session = session_of(call)) call.answer(200, session_json(*session));
  }

  void remove_session(const Call& call) const {
    if (!service_.sessions().remove(call.path.at("id"), call.owner)) return call.answer(not_found("session"));
    call.responder->send({.status = 204, .content_type = "", .headers = {}, .body = nullptr});
  }

  void session_picture(const Call& call) const {
    const auto session = session_of(call);
    if (session == nullptr) return;
    const auto found = session->pictures.find(call.path.at("node"));
    if (found == session->pictures.end()) return call.answer(not_found("node of this session"));
    // What was uploaded is shown back as it came: by its own type, never as anything a browser would run.
    const std::string& bytes = *found->second;
    const std::string format = bytes.starts_with("\x89PNG") ? "png" : bytes.starts_with("RIFF") ? "webp" : "jpeg";
    call.responder->send(picture_response(found->second, format, "inkling-" + call.path.at("node")));
  }

  // Another instruction on a node; a chain that has grown too long is drawn again from the original.
  void edit(const Call& call) const {
    const auto session = session_of(call);
    if (session == nullptr) return;
    nlohmann::json body = parse_json(call.request.body);
    std::string parent = session->history.head();
    if (body.is_object() && body.contains("parent")) {
      if (!body["parent"].is_string()) throw ArgumentError("parent: expected the id of a node");
      parent = body["parent"];
      body.erase("parent");
      if (!session->pictures.contains(parent)) return call.answer(not_found("node of this session"));
    }
    DrawRequest wish = parse_wish(body, service_.limits(), true);
    check_prompt("prompt", wish.prompt, service_.limits().prompt_characters);
    const EditPlan plan = session->history.plan(parent, wish.prompt, service_.sessions().limits().chain);
    wish.instruction = wish.prompt;
    wish.prompt = plan.instruction;
    wish.images = {session->pictures.at(plan.start)};
    wish.rerun = plan.rerun;
    if (wish.profile.empty()) wish.profile = "editor";
    check_wish(wish, service_.limits());
    submit_wish(call, std::move(wish), session->id, parent);
  }

  void move_head(const Call& call, bool undo) const {
    const auto session = session_of(call);
    if (session == nullptr) return;
    if (undo) {
      if (session->history.node(session->history.head()).parent.empty())
        return call.answer({.status = 409,
                            .message = "this is the original; there is nothing to undo",
                            .type = "invalid_request_error",
                            .code = "nothing_to_undo"});
      session->history.undo();
    } else {
      const nlohmann::json body = parse_json(call.request.body);
      if (!body.is_object() || !body.contains("node") || !body["node"].is_string())
        throw ArgumentError("node: expected the id of a node");
      if (!session->pictures.contains(body["node"])) return call.answer(not_found("node of this session"));
      session->history.set_head(body["node"]);
    }
    call.answer(200, session_json(*session));
  }

 private:
  Service& service_;
};

}  // namespace

void add_native_routes(Router& router, Service& service) {
  const auto api = std::make_shared<NativeApi>(service);
  const auto add = [&](const char* method, const char* pattern, const char* summary, auto function,
                       uint64_t body_limit = 64 << 10, bool limited = false) {
    Route route;
    route.method = method;
    route.pattern = pattern;
    route.summary = summary;
    route.call = guarded([api, function](const Call& call) { function(*api, call); });
    route.body_limit = body_limit;
    route.limited = limited;
    router.add(std::move(route));
  };
  add(
      "POST", "/v1/jobs", "Ask for pictures; the answer comes at once, the pictures later",
      [](auto& a, auto& c) { a.submit(c); }, kBodyWithPictures, true);
  add("GET", "/v1/jobs", "Own jobs, newest first", [](auto& a, auto& c) { a.list(c); });
  add("GET", "/v1/jobs/{id}", "State and result of a job", [](auto& a, auto& c) { a.show(c); });
  add("POST", "/v1/jobs/{id}/cancel", "Stop a job within one step", [](auto& a, auto& c) { a.cancel(c); });
  add("DELETE", "/v1/jobs/{id}", "The same", [](auto& a, auto& c) { a.cancel(c); });
  add("GET", "/v1/jobs/{id}/images/{n}", "A picture of a finished job", [](auto& a, auto& c) { a.picture(c); });
  add("GET", "/v1/jobs/{id}/events", "Server-sent events: queued, progress, preview, and the end",
      [](auto& a, auto& c) { a.events(c); });
  add("GET", "/v1/ws", "The same events of any own job over one WebSocket", [](auto& a, auto& c) { a.websocket(c); });
  add(
      "POST", "/v1/sessions", "Begin to edit a picture", [](auto& a, auto& c) { a.create_session(c); },
      kBodyWithPictures, true);
  add("GET", "/v1/sessions/{id}", "The tree of edits", [](auto& a, auto& c) { a.show_session(c); });
  add("DELETE", "/v1/sessions/{id}", "Forget a session", [](auto& a, auto& c) { a.remove_session(c); });
  add("GET", "/v1/sessions/{id}/images/{node}", "The picture of a node",
      [](auto& a, auto& c) { a.session_picture(c); });
  add(
      "POST", "/v1/sessions/{id}/edits", "Edit a node; the result becomes its child",
      [](auto& a, auto& c) { a.edit(c); }, kBodyWithPictures, true);
  add("POST", "/v1/sessions/{id}/undo", "Back to the parent of the present node",
      [](auto& a, auto& c) { a.move_head(c, true); });
  add("POST", "/v1/sessions/{id}/head", "Go to a node", [](auto& a, auto& c) { a.move_head(c, false); });
  add("GET", "/v1/config", "What the pages need to know",
      [&service](auto&, auto& c) { c.answer(200, service.config()); });
  add("GET", "/v1/stats", "State of the service", [&service](auto&, auto& c) { c.answer(200, service.stats()); });
}

}  // namespace inkling::server
