#include "server/api/openai.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "server/api/base64.h"
#include "server/api/events.h"
#include "server/api/json_input.h"

namespace inkling::server {

namespace {

constexpr uint64_t kBody = 64 << 20;
constexpr size_t kOpenAiImageBytes = 16 << 20;
constexpr size_t kPromptCharacters = 32'000;
constexpr int kMaxN = 10;

// What the request asks of the answer, beside the wish.
struct Wanted {
  DrawRequest wish;
  bool edit = false, stream = false, as_url = false;
  int partial_images = 0;
  std::string size = "auto", quality = "auto", background = "auto";
};

// Form fields are strings: "true", "2"; JSON has real types. Both are read by what the field is.
class Fields {
 public:
  explicit Fields(nlohmann::json body) : body_(std::move(body)) {
    if (!body_.is_object()) throw ArgumentError("the body must be a JSON object");
  }
  bool has(const char* name) const { return body_.contains(name) && !body_[name].is_null(); }
  const nlohmann::json& raw(const char* name) const { return body_[name]; }

  std::string text(const char* name, std::string fallback) const {
    if (!has(name)) return fallback;
    if (!body_[name].is_string()) throw ArgumentError("{}: expected a string", name);
    return body_[name];
  }
  double number(const char* name, double fallback, double min, double max, bool whole) const {
    if (!has(name)) return fallback;
    double value = NAN;
    if (body_[name].is_number()) value = body_[name].get<double>();
    if (body_[name].is_string()) {
      const std::string& s = body_[name].get_ref<const std::string&>();
      const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
      if (error != std::errc() || end != s.data() + s.size()) value = NAN;
    }
    if (!(value >= min && value <= max) || (whole && value != std::floor(value)))
      throw ArgumentError("{}: expected a {}number between {:g} and {:g}", name, whole ? "whole " : "", min, max);
    return value;
  }
  bool flag(const char* name) const {
    if (!has(name)) return false;
    if (body_[name].is_boolean()) return body_[name];
    if (body_[name] == "true" || body_[name] == "false") return body_[name] == "true";
    throw ArgumentError("{}: expected true or false", name);
  }

 private:
  nlohmann::json body_;
};

void read_size(const std::string& size, DrawRequest& wish) {
  if (size == "auto" || size.empty()) return;
  int width = 0, height = 0;
  const char* end = size.data() + size.size();
  const auto [x, first] = std::from_chars(size.data(), end, width);
  if (first == std::errc() && x != end && *x == 'x') {
    const auto [rest, second] = std::from_chars(x + 1, end, height);
    if (second == std::errc() && rest == end) {
      wish.width = width, wish.height = height;
      return;
    }
  }
  throw ArgumentError("size: got '{}', expected auto or WIDTHxHEIGHT such as 512x512", size.substr(0, 32));
}

Wanted read_fields(const Fields& f, bool edit) {
  Wanted w;
  w.edit = edit;
  if (!f.has("prompt")) throw ArgumentError("prompt: is missing");
  w.wish.prompt = f.text("prompt", "");
  if (f.has("negative_prompt")) w.wish.negative_prompt = f.text("negative_prompt", "");
  w.wish.profile = f.text("profile", "");
  w.wish.style = f.text("style_tag", "");
  // Names of OpenAI's own models stand for "the best you have".
  w.wish.model = f.text("model", "auto");
  if (w.wish.model.starts_with("gpt-image") || w.wish.model.starts_with("dall-e")) w.wish.model = "auto";
  w.wish.n = static_cast<int>(f.number("n", 1, 1, kMaxN, true));
  w.size = f.text("size", "auto");
  read_size(w.size, w.wish);
  w.quality = f.text("quality", "auto");
  w.background = f.text("background", "auto");
  w.as_url = f.text("response_format", "b64_json") == "url";
  w.wish.output_format = f.text("output_format", "png");
  if (w.wish.output_format != "png" && w.wish.output_format != "jpeg" && w.wish.output_format != "webp")
    throw ArgumentError("output_format: expected png, jpeg or webp");
  w.wish.quality = std::max(1, static_cast<int>(f.number("output_compression", 92, 0, 100, true)));
  w.stream = f.flag("stream");
  w.partial_images = static_cast<int>(f.number("partial_images", 0, 0, 3, true));
  w.wish.preview = w.stream && w.partial_images > 0;
  w.wish.steps = static_cast<int>(f.number("num_inference_steps", 0, 0, 200, true));
  w.wish.cfg_scale = f.number("true_cfg_scale", -1, -1, 30, false);
  w.wish.seed_given = f.has("seed");
  w.wish.seed = static_cast<int64_t>(f.number("seed", 0, -9007199254740992.0, 9007199254740992.0, true));
  w.wish.mask_polarity = MaskPolarity::transparent_edits;
  return w;
}

// {"image_url": data URL or {"url": ...}} or the string itself
std::string picture_text(const std::string& field, const nlohmann::json& item) {
  if (item.is_string()) return item;
  if (item.is_object() && item.contains("file_id"))
    throw ArgumentError("{}: this server has no files; send image_url", field);
  if (item.is_object() && item.contains("image_url")) {
    const nlohmann::json& url = item["image_url"];
    if (url.is_string()) return url;
    if (url.is_object() && url.contains("url") && url["url"].is_string()) return url["url"];
  }
  throw ArgumentError("{}: expected {{\"image_url\": \"data:image/png;base64,...\"}}", field);
}

Wanted read_edit(const HttpRequest& request) {
  const std::string_view type = request.header("content-type");
  if (!type.starts_with("multipart/form-data")) {
    const nlohmann::json body = parse_json(request.body);
    const Fields fields(body);
    Wanted w = read_fields(fields, true);
    const char* name = fields.has("images") ? "images" : "image";
    if (fields.has(name)) {
      const nlohmann::json& given = fields.raw(name);
      const nlohmann::json list = given.is_array() ? given : nlohmann::json::array({given});
      for (size_t i = 0; i < list.size(); ++i) {
        const std::string field = fmt::format("{}[{}]", name, i);
        w.wish.images.push_back(decode_picture_text(field, picture_text(field, list[i]), kOpenAiImageBytes));
      }
    }
    if (fields.has("mask"))
      w.wish.mask = decode_picture_text("mask", picture_text("mask", fields.raw("mask")), kOpenAiImageBytes);
    return w;
  }
  nlohmann::json body = nlohmann::json::object();
  std::vector<Blob> images;
  Blob mask;
  for (const FormPart& part : parse_multipart(type, request.body)) {
    if (part.name == "image" || part.name == "image[]" || part.name == "mask") {
      check_picture_bytes(part.name, part.data, kOpenAiImageBytes);
      const auto bytes = std::make_shared<const std::string>(part.data);
      if (part.name == "mask")
        mask = bytes;
      else
        images.push_back(bytes);
    } else {
      body[part.name] = std::string(part.data);
    }
  }
  Wanted w = read_fields(Fields(body), true);
  w.wish.images = std::move(images);
  w.wish.mask = mask;
  return w;
}

nlohmann::json usage_of(const Job& job) {
  // An estimate, as the tokenizer lives in the workers: four bytes a token; a picture counts as one.
  const size_t text = (job.wish.prompt.size() + 3) / 4;
  return {{"input_tokens", text},
          {"output_tokens", job.pictures.size()},
          {"total_tokens", text + job.pictures.size()},
          {"input_tokens_details", {{"text_tokens", text}, {"image_tokens", 0}}}};
}

class OpenAiApi : public std::enable_shared_from_this<OpenAiApi> {
 public:
  explicit OpenAiApi(Service& service) : service_(service) {}

  void create(const Call& call, bool edit) {
    Wanted wanted;
    try {
      wanted = edit ? read_edit(call.request) : read_fields(Fields(parse_json(call.request.body)), false);
      if (edit && wanted.wish.images.empty()) throw ArgumentError("image: an edit needs a picture");
      WishLimits limits = service_.limits();
      limits.prompt_characters = kPromptCharacters;
      limits.image_bytes = kOpenAiImageBytes;
      limits.max_n = kMaxN;
      check_wish(wanted.wish, limits);
    } catch (const ArgumentError& e) {
      const std::string text = e.what();
      return call.answer(bad_request(text, text.substr(0, text.find_first_of(":["))));
    }
    Service::Submission submission;
    submission.wish = wanted.wish;
    submission.owner = call.owner;
    submission.api = "openai";
    submission.request_id = call.request.id;
    submission.trace_id = call.request.trace_id();
    const Service::Answer answer = service_.submit(std::move(submission));
    if (answer.job == nullptr) return call.answer(answer.error);
    wanted.wish.images.clear();
    if (wanted.stream) return stream(call, answer.job, wanted);
    if (is_over(answer.job->status)) return finish(call, *answer.job, wanted);
    service_.board().listen(answer.job,
                            [self = shared_from_this(), call, wanted](const Job& job, const Job::Event& event) {
                              if (event.kind == Job::Event::Kind::over) self->finish(call, job, wanted);
                            });
    // A client that hung up waits for nothing.
    call.responder->on_disconnect([self = shared_from_this(), weak = std::weak_ptr(answer.job)] {
      if (const JobPointer job = weak.lock()) self->service_.board().cancel(job);
    });
  }

 private:
  nlohmann::json picture_json(const Job& job, const Wanted& wanted, size_t i) const {
    if (wanted.as_url) return {{"url", "/v1/jobs/" + job.id + "/images/" + std::to_string(i)}};
    return {{"b64_json", base64_encode(*job.pictures[i].bytes)}};
  }

  std::string size_of(const Job& job) const {
    return fmt::format("{}x{}", job.pictures.front().width, job.pictures.front().height);
  }

  // A DOM of several megabytes of base64 is never built: the pictures are written between the JSON.
  void finish(const Call& call, const Job& job, const Wanted& wanted) {
    if (job.status != JobStatus::succeeded) {
      if (job.error) return call.answer(*job.error);
      return call.answer({.status = 409,
                          .message = "the request was cancelled",
                          .type = "invalid_request_error",
                          .code = "cancelled"});
    }
    std::string body = fmt::format("{{\"created\":{},\"data\":[", static_cast<int64_t>(job.created_unix));
    for (size_t i = 0; i < job.pictures.size(); ++i) body += (i > 0 ? "," : "") + picture_json(job, wanted, i).dump();
    const nlohmann::json rest{{"size", size_of(job)},
                              {"quality", wanted.quality},
                              {"background", "opaque"},
                              {"output_format", job.wish.output_format},
                              {"usage", usage_of(job)},
                              {"inkling",
                               {{"job", job.id},
                                {"model", job.model},
                                {"model_reason", job.model_reason},
                                {"degraded", !job.degradations.empty()},
                                {"degradations", job.degradations},
                                {"cache", job.cache.empty() ? nlohmann::json() : nlohmann::json(job.cache)},
                                {"seed", job.pictures.front().seed}}}};
    body += "]," + rest.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(1);
    call.responder->send(text_response(200, std::move(body)));
  }

  // `partial_images` of the previews, spread over the steps, then the picture itself.
  void stream(const Call& call, const JobPointer& job, const Wanted& wanted) {
    HttpResponse head;
    head.content_type = "text/event-stream";
    head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
    const auto out = call.responder->stream(head);
    const std::string kind = wanted.edit ? "image_edit" : "image_generation";
    const auto event = [out](const std::string& type, nlohmann::json data, bool droppable) {
      data["type"] = type;
      out->write(
          "event: " + type + "\ndata: " + data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n\n",
          droppable);
    };
    const auto common = [wanted](const Job& j, const std::string& base64) {
      return nlohmann::json{{"b64_json", base64},     {"created_at", static_cast<int64_t>(j.created_unix)},
                            {"size", wanted.size},    {"quality", wanted.quality},
                            {"background", "opaque"}, {"output_format", j.wish.output_format}};
    };
    const auto over = [this, event, common, kind, out](const Job& j) {
      if (j.status == JobStatus::succeeded) {
        for (const Picture& picture : j.pictures) {
          nlohmann::json data = common(j, base64_encode(*picture.bytes));
          data["size"] = fmt::format("{}x{}", picture.width, picture.height);
          data["usage"] = usage_of(j);
          event(kind + ".completed", std::move(data), false);
        }
      } else {
        event("error", j.error ? j.error->json() : bad_request("the request was cancelled", "", "cancelled").json(),
              false);
      }
      out->close();
    };
    if (is_over(job->status)) return over(*job);
    const auto sent = std::make_shared<int>(0);
    const uint64_t number = service_.board().listen(
        job, [self = shared_from_this(), event, common, kind, over, sent, wanted](const Job& j, const Job::Event& e) {
          if (e.kind == Job::Event::Kind::over) return over(j);
          if (e.kind != Job::Event::Kind::preview || *sent >= wanted.partial_images) return;
          // The k-th of p partial pictures is due after k / (p + 1) of the steps.
          if (e.step * (wanted.partial_images + 1) < (*sent + 1) * j.steps) return;
          nlohmann::json data = common(j, base64_encode(*e.preview));
          data["partial_image_index"] = (*sent)++;
          data["output_format"] = "jpeg";
          event(kind + ".partial_image", std::move(data), false);
        });
    out->on_close([self = shared_from_this(), weak = std::weak_ptr(job), number] {
      const JobPointer still = weak.lock();
      if (still == nullptr) return;
      self->service_.board().unlisten(still, number);
      self->service_.board().cancel(still);  // no effect when it is over
    });
  }

  Service& service_;
};

}  // namespace

void add_openai_routes(Router& router, Service& service) {
  const auto api = std::make_shared<OpenAiApi>(service);
  Route route;
  route.method = "POST";
  route.body_limit = kBody;
  route.limited = true;
  route.pattern = "/v1/images/generations";
  route.summary = "OpenAI Images: draw";
  route.call = [api](const Call& call) { api->create(call, false); };
  router.add(route);
  route.pattern = "/v1/images/edits";
  route.summary = "OpenAI Images: edit (JSON or multipart)";
  route.any_type = true;
  route.call = [api](const Call& call) { api->create(call, true); };
  router.add(route);
  Route models;
  models.method = "GET";
  models.pattern = "/v1/models";
  models.summary = "Models, in OpenAI's form";
  models.call = [&service](const Call& call) { call.answer(200, service.models()); };
  router.add(models);
  models.pattern = "/v1/models/{id}";
  models.summary = "One model";
  models.call = [&service](const Call& call) {
    const nlohmann::json models = service.models();
    for (const auto& model : models["data"])
      if (model["id"] == call.path.at("id")) return call.answer(200, model);
    call.answer(not_found("model"));
  };
  router.add(models);
}

}  // namespace inkling::server
