#include "server/service.h"

#include <openssl/rand.h>

#include <chrono>
#include <ranges>

#include "base/error.h"
#include "editing/instruction.h"
#include "server/cache/cache_key.h"
#include "server/service_impl.h"

namespace inkling::server {

namespace asio = boost::asio;

namespace {

constexpr auto kTick = std::chrono::milliseconds(250);

int64_t random_seed() {
  uint64_t value = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&value), sizeof(value)) != 1)
    throw RuntimeError("the system gives no random numbers");
  return static_cast<int64_t>(value >> 33);  // 31 bits: easy to read, to type and to repeat
}

ServerConfig read_config(const ServiceOptions& o) {
  ServerConfig config = o.config_file.empty() ? default_config() : load_config(o.config_file);
  if (!o.model.empty()) config.replace_checkpoint(o.model);
  return config;
}

std::vector<std::string> ids(const std::vector<ModelEntry>& models) {
  std::vector<std::string> all;
  for (const ModelEntry& m : models) all.push_back(m.id);
  return all;
}

std::vector<std::string> names(const std::vector<DeviceOptions>& devices) {
  std::vector<std::string> all;
  for (const DeviceOptions& d : devices) all.push_back(d.name);
  return all;
}

}  // namespace

double monotonic() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Service::Impl::Impl(asio::io_context& io_, ServiceOptions o)
    : io(io_),
      options(std::move(o)),
      config(read_config(options)),
      devices(worker_devices(options)),
      log({.file = options.log_file, .prompts = options.log_prompts, .level = LogLevel::info, .unix_now = {}}),
      times(config.models),
      admission({.hard_cap = config.limits.queue, .deadline_cap = true, .predicted_wait = true}),
      brown_out(config.brown_out, config.models),
      rate(options.rate_per_minute.value_or(config.limits.rate_per_minute),
           static_cast<size_t>(config.limits.rate_keys)),
      router(config),
      frequency(config.routing.frequency_window_s),
      metrics(ids(config.models), names(devices)),
      sessions({}, monotonic),
      board({}, monotonic,
            {[this](const Job& job) { over(job); }, [this](const std::string& work) { dispatcher->abandon(work); }}),
      timer(io) {
  if (options.safety) safety = std::make_unique<SafetyFilter>();
  if (!options.state_folder.empty()) {
    const std::filesystem::path state = options.state_folder;
    results = std::make_unique<ResultCache>(state / "results", config.cache.result);
    templates = std::make_unique<TemplateCache>(state / "templates", config.cache.edit_template);
    pool = LatentPool(options.pool_folder.empty() ? state / "pool" : std::filesystem::path(options.pool_folder));
    for (const std::string& warning : pool.warnings()) log.write(LogLevel::warning, "pool", {{"message", warning}});
  }
  DispatcherOptions d;
  d.devices = devices;
  d.breaker = config.breaker;
  d.batch = options.batch;
  d.warm_up_model = config.models.front().id;
  d.supervisor.silent_seconds = options.worker_silence_s;
  dispatcher = std::make_unique<Dispatcher>(
      io, board, d, monotonic,
      Dispatcher::Hooks{[this](const std::string& id) -> nlohmann::json {
                          const ModelEntry* m = config.find(id);
                          if (m == nullptr) m = &config.models.front();
                          const std::string precision = m->precision == "auto" ? options.precision : m->precision;
                          return {{"id", m->id},
                                  {"path", m->path == "shipped" ? "" : m->path},
                                  {"precision", precision},
                                  {"embedding_bytes", config.cache.embedding_bytes}};
                        },
                        [this](const Dispatcher::Drawn& drawing) { drawn(drawing); },
                        [this](const Work& work, const nlohmann::json& failed) { return explain(work, failed); },
                        [this](double seconds, const std::string& model) {
                          times.observe_step(model, seconds);
                          metrics.step(model, seconds);
                        },
                        [this](const std::string& device, const std::string& reason) {
                          metrics.worker_restart(device);
                          log.write(LogLevel::warning, "worker", {{"device", device}, {"reason", reason}});
                        },
                        [this](const std::string& model) { return times.step_seconds(model); }});
}

// Devices that work, or will in a moment: a worker that was replaced just now is no reason to turn anyone away.
int Service::Impl::capacity() const {
  int working = 0;
  for (const Supervisor* w : dispatcher->workers())
    working += w->state() != Supervisor::State::open && w->state() != Supervisor::State::stopped;
  return working;
}

std::optional<GpuSample> Service::Impl::gpu_of(const std::string& device) const {
  constexpr std::string_view kGpu = "cuda:";
  return device.starts_with(kGpu) ? gpu.sample(std::atoi(device.c_str() + kGpu.size())) : std::nullopt;
}

std::optional<double> Service::Impl::utilisation() const {
  std::optional<double> busiest;
  for (const Supervisor* w : dispatcher->workers())
    if (const auto sample = gpu_of(w->device())) busiest = std::max(busiest.value_or(0), sample->utilisation);
  return busiest;
}

// Device seconds of everything accepted; what runs counts for what is left of it.
double Service::Impl::work_ahead() const {
  double sum = 0;
  for (const auto& work : board.waiting_works()) sum += work->service_s;
  for (const auto& work : board.running_works()) {
    if (work->jobs.empty()) continue;
    const Job& job = *work->jobs.front();
    sum += job.steps > 0 ? work->service_s * (1 - static_cast<double>(job.step) / job.steps) : work->service_s;
  }
  return sum;
}

JobShape Service::Impl::shape_of(const DrawRequest& wish) const {
  JobShape shape;
  shape.edit = wish.edit();
  shape.width = wish.width;
  shape.height = wish.height;
  shape.steps = wish.steps;
  shape.n = wish.n;
  shape.references = static_cast<int>(wish.images.size());
  shape.model = wish.model;
  shape.passes = wish.cfg_scale > 1 ? 2 : wish.cfg_scale >= 0 ? 1 : 0;
  return shape;
}

void Service::Impl::apply_profile(DrawRequest& wish) const {
  if (wish.profile.empty()) wish.profile = options.profile;
  const bool kids = wish.profile == "kids";
  if (wish.style.empty()) wish.style = kids && !wish.edit() ? "kids_cute_v2" : "none";
  if (kids && !wish.label_given) wish.label = true;
  // No wish talks a children's server out of looking.
  wish.check_pictures = options.safety && (kids || options.profile == "kids");
  if (kids && !wish.edit()) wish.prompt = complete_wish(wish.prompt).prompt;
}

std::optional<ErrorAnswer> Service::Impl::check_safety(const Submission& s) {
  if (!safety) return std::nullopt;
  for (const std::string* text : {&s.wish.prompt, s.wish.negative_prompt ? &*s.wish.negative_prompt : nullptr}) {
    if (text == nullptr || text->empty()) continue;
    const SafetyVerdict verdict = safety->check_text(*text);
    if (!verdict.blocked) continue;
    ++blocks[verdict.category];
    ++refused;
    metrics.safety_block(verdict.category);
    metrics.request(s.api, "none", "refused", 0, monotonic());
    log.write(LogLevel::info, "refused",
              {{"request", s.request_id},
               {"trace", or_null(s.trace_id)},
               {"category", verdict.category},
               {"layer", name(verdict.layer)}});
    const Refusal refusal = make_refusal(verdict, language_of(s.wish.prompt), static_cast<uint64_t>(random_seed()));
    ErrorAnswer answer = bad_request(refusal.message, "prompt", "moderation_blocked");
    answer.refusal = {{"category", verdict.category}, {"suggestions", refusal.suggestions}};
    return answer;
  }
  return std::nullopt;
}

std::optional<ErrorAnswer> Service::Impl::choose_model(Job& job, const std::string& prompt) {
  RouteQuery query;
  query.edit = job.wish.edit();
  query.asked = job.wish.model;
  query.deadline_s = job.wish.deadline_s;
  query.frequency = frequency.count(prompt, monotonic());
  for (const Supervisor* w : dispatcher->workers()) {
    DeviceState device{w->device(), w->breaker().state() != Breaker::State::open, std::nullopt};
    if (const auto sample = gpu_of(device.name))
      device.room_bytes = sample->free_bytes + w->description().value("device_bytes", int64_t{0});
    query.devices.push_back(device);
  }
  query.predicted_s = [&](const std::string& model) {
    JobShape shape = shape_of(job.wish);
    shape.model = model;
    return predicted_wait() + times.estimate(shape);
  };
  try {
    const RouteChoice choice = router.choose(query);
    if (choice.model.empty()) {
      ++rejected;
      return too_busy(choice.reason, config.breaker.open_s, 503);
    }
    job.model = job.wish.model = choice.model;
    job.model_reason = choice.reason;
    if (choice.degraded) job.degradations.push_back(choice.reason);
  } catch (const ArgumentError& e) {
    return bad_request(e.what(), "model", "model_not_found");
  }
  return std::nullopt;
}

std::optional<ErrorAnswer> Service::Impl::degrade(Job& job) {
  brown_out.update(monotonic(), predicted_wait(), job.wish.deadline_s, utilisation());
  if (brown_out.level() == 0) return std::nullopt;
  if (brown_out.refuses()) return too_busy(brown_out.reason(), std::max(1.0, predicted_wait() / 2));
  JobParameters p{job.wish.steps, job.wish.width, job.wish.height, job.wish.model, job.wish.edit()};
  const std::vector<std::string> changes = brown_out.apply(p);
  if (changes.empty()) return std::nullopt;
  job.wish.steps = p.steps;
  job.wish.width = p.width;
  job.wish.height = p.height;
  job.wish.model = job.model = p.model;
  job.degradations.insert(job.degradations.end(), changes.begin(), changes.end());
  metrics.degraded(brown_out.level());
  return std::nullopt;
}

bool Service::Impl::answer_from(const JobPointer& job, const std::optional<CachedResult>& found, const char* cache) {
  metrics.cache(cache, found.has_value());
  if (!found) return false;
  const nlohmann::json& described = found->metadata;
  if (!described.is_array() || described.size() != found->blobs.size()) return false;
  for (size_t i = 0; i < found->blobs.size(); ++i)
    job->pictures.push_back({std::make_shared<const std::string>(found->blobs[i]), described[i].value("width", 0),
                             described[i].value("height", 0), described[i].value("seed", int64_t{0}),
                             described[i].value("similarity", nlohmann::json())});
  job->cache = cache;
  return true;
}

TemplateKey Service::Impl::template_key(const DrawRequest& wish, const std::string& owner) const {
  TemplateKey key;
  // A mask is part of the picture; a joined chain is no common wish.
  if (wish.rerun || !wish.edit()) return key;
  key.instruction = parse_instruction(wish.prompt).key;
  nlohmann::json settings = canonical(wish, owner);
  key.picture_hash = settings["images"].dump() + settings["mask"].dump();
  for (const char* part : {"prompt", "seed", "images", "mask", "owner"}) settings.erase(part);
  settings["fingerprint"] = fingerprints.contains(wish.model) ? fingerprints.at(wish.model) : "";
  settings["safety"] = safety ? safety->version() : "off";
  key.owner = owner;
  key.settings = settings;
  return key;
}

// A seed asks for one picture: only that very one answers. Without a seed any good picture does.
bool Service::Impl::answer_from_cache(const JobPointer& job, Work& work, const std::string& prompt) {
  DrawRequest& wish = job->wish;
  learn_fingerprints();
  const auto known = fingerprints.find(wish.model);
  if (known == fingerprints.end()) return false;  // which weights would answer is not known yet
  const std::string safety_version = safety ? safety->version() : "off";
  if (wish.seed_given) {
    nlohmann::json key = canonical(wish, job->owner);
    key["fingerprint"] = known->second;
    key["safety"] = safety_version;
    key["version"] = INKLING_VERSION;
    work.key = cache_key(key);
    return results && answer_from(job, results->get(work.key, unix_seconds()), "result");
  }
  if (wish.edit()) {
    const TemplateKey key = template_key(wish, job->owner);
    return templates && !key.instruction.empty() && answer_from(job, templates->get(key, unix_seconds()), "template");
  }
  const bool usual = wish.width == 0 && wish.steps == 0 && wish.n == 1 && wish.cfg_scale < 0 && !wish.negative_prompt;
  if (!usual || pool.size() == 0) return false;
  const auto entry =
      pool.find(canonical_prompt(prompt), known->second, safety_version, static_cast<uint64_t>(wish.seed));
  const bool hit = entry && entry->style == wish.style;
  ++(hit ? pool_hits : pool_misses);
  metrics.cache("latent", hit);
  if (!hit) return false;
  // Decoded by a worker, so the picture is looked at like any other.
  wish.latent_path = entry->path.string();
  wish.seed = entry->seed;
  wish.width = entry->width;
  wish.height = entry->height;
  job->cache = "latent";
  return false;
}

Service::Answer Service::Impl::submit(Submission s) {
  const auto refuse = [&](ErrorAnswer error) {
    metrics.request(s.api, "none", "rejected", 0, monotonic());
    return Answer{nullptr, true, std::move(error)};
  };
  if (!s.idempotency_key.empty())
    if (const JobPointer earlier = board.by_idempotency_key(s.owner, s.idempotency_key)) return {earlier, false, {}};
  if (draining) return refuse(too_busy("the server is shutting down", 10, 503));
  if (auto error = check_safety(s)) return {nullptr, true, std::move(*error)};

  auto job = std::make_shared<Job>();
  job->id = random_id("job_");
  job->owner = s.owner;
  job->api = s.api;
  job->wish = std::move(s.wish);
  job->created_unix = unix_seconds();
  job->session = s.session;
  job->node_parent = s.node_parent;
  if (job->wish.rerun) job->notes.push_back("the chain of edits was long, so it was drawn again from the original");
  if (job->wish.deadline_s <= 0) job->wish.deadline_s = usual_deadline();
  if (!job->wish.seed_given) job->wish.seed = random_seed();
  const std::string prompt = job->wish.prompt;
  apply_profile(job->wish);
  if (auto error = choose_model(*job, canonical_prompt(prompt))) return refuse(std::move(*error));

  const auto accept = [&] {
    if (!s.idempotency_key.empty()) board.set_idempotency_key(job, s.idempotency_key);
    log.write(LogLevel::info, "job",
              {{"request", s.request_id},
               {"trace", or_null(s.trace_id)},
               {"job", job->id},
               {"api", job->api},
               {"model", job->model},
               {"cache", or_null(job->cache)},
               {"prompt", prompt}});
    return Answer{job, true, {}};
  };
  Work work;
  if (answer_from_cache(job, work, prompt)) {
    board.add_finished(job);
    return accept();
  }
  if (auto error = degrade(*job)) {
    ++rejected;
    return refuse(std::move(*error));
  }
  if (!job->degradations.empty()) work.key.clear();  // not the picture that was asked for
  work.wish = job->wish;
  work.owner = job->owner;
  work.service_s = times.estimate(shape_of(job->wish));
  if (!job->wish.latent_path.empty()) work.service_s = std::min(work.service_s, times.step_seconds(job->model));
  // A wish that joins a drawing under way costs nothing.
  if (work.key.empty() || !board.has_work(work.key)) {
    const auto decision = admission.decide(work_ahead(), static_cast<int>(board.waiting() + board.running()),
                                           work.service_s, job->wish.deadline_s, capacity());
    if (!decision.accepted) {
      ++rejected;
      return refuse(too_busy(decision.reason, decision.retry_after_s, decision.status));
    }
  }
  job->deadline = monotonic() + job->wish.deadline_s;
  board.enqueue(job, std::move(work));
  const Answer answer = accept();
  dispatcher->dispatch();
  return answer;
}

void Service::Impl::over(const Job& job) {
  const double now = monotonic();
  const char* outcome = job.status == JobStatus::succeeded ? "done"
                        : job.status == JobStatus::failed  ? "failed"
                                                           : "cancelled";
  metrics.request(job.api, label_of(job), outcome, now - job.created, now);
  if (job.started > 0) metrics.queue_wait(job.started - job.created, now);
  log.write(job.status == JobStatus::failed ? LogLevel::warning : LogLevel::info, "over",
            {{"job", job.id},
             {"outcome", outcome},
             {"seconds", now - job.created},
             {"queue_s", job.started > 0 ? job.started - job.created : now - job.created},
             {"model", job.model},
             {"degraded", !job.degradations.empty()},
             {"error", job.error ? nlohmann::json(job.error->code) : nlohmann::json()}});
}

void Service::Impl::drawn(const Dispatcher::Drawn& d) {
  JobShape shape = shape_of(d.work.wish);
  if (d.work.wish.latent_path.empty()) times.observe(shape, d.seconds);
  const bool cached = d.message.value("embedding_cached", false);
  metrics.cache("embedding", cached);
  for (const Picture& picture : d.pictures)
    if (picture.similarity.is_object())
      metrics.edit(d.work.wish.model, picture.similarity.value("psnr", 0.0), picture.similarity.value("ssim", 0.0));
  keep(d.work, d.pictures);
  for (const JobPointer& job : d.work.jobs) {
    if (job->session.empty()) continue;
    const auto session = sessions.find(job->session, job->owner);
    if (session == nullptr) continue;
    try {
      job->node = sessions.add(*session, job->node_parent, job->wish.instruction, d.pictures.front().bytes,
                               job->wish.rerun, unix_seconds());
    } catch (const ArgumentError& e) {
      job->notes.push_back(e.what());
    }
  }
}

void Service::Impl::keep(const Work& work, const std::vector<Picture>& pictures) {
  if (work.jobs.empty() || !work.jobs.front()->degradations.empty()) return;  // not the picture that was asked for
  const bool exact = results && !work.key.empty();
  const TemplateKey key = templates && !work.wish.seed_given ? template_key(work.wish, work.owner) : TemplateKey{};
  if (!exact && key.instruction.empty()) return;
  CachedResult result;
  for (const Picture& p : pictures) {
    result.blobs.push_back(*p.bytes);
    result.metadata.push_back(
        {{"width", p.width}, {"height", p.height}, {"seed", p.seed}, {"similarity", p.similarity}});
  }
  if (exact) results->put(work.key, result, unix_seconds());
  if (!key.instruction.empty()) templates->put(key, result, unix_seconds());
}

ErrorAnswer Service::Impl::explain(const Work& work, const nlohmann::json& failed) {
  const std::string kind = failed.value("kind", ""), message = failed.value("message", "");
  log.write(LogLevel::warning, "failed", {{"work", work.id}, {"kind", kind}, {"message", message}});
  if (kind == "argument") return bad_request(message, message.substr(0, message.find(':')));
  if (kind == "blocked") {
    const std::string category = message.substr(message.find(": ") + 2);
    ++blocks[category];
    ++refused;
    metrics.safety_block(category);
    SafetyVerdict verdict{.blocked = true, .layer = SafetyLayer::picture, .category = category, .score = 1};
    const Refusal refusal = make_refusal(verdict, language_of(work.wish.prompt), static_cast<uint64_t>(random_seed()));
    ErrorAnswer answer =
        bad_request(refusal.message, message.starts_with("upload") ? "images" : "prompt", "moderation_blocked");
    answer.refusal = {{"category", category}, {"suggestions", refusal.suggestions}};
    return answer;
  }
  ErrorAnswer answer;
  if (kind == "memory") {
    ++oom;
    metrics.out_of_memory();
    answer.status = 507;
    answer.code = "out_of_memory";
    answer.message = "the picture does not fit into the memory that is free; ask for a smaller one";
  } else if (kind == "numeric") {
    answer.code = "non_finite";
    answer.message = "the model gave values that are no numbers, so there is no picture";
  } else if (kind == "model") {
    answer.code = "model_unusable";
    answer.message = "the model file cannot be used; the server's log says why";
  } else {
    answer.code = "drawing_failed";
    answer.message = "drawing failed; the server's log says why";
  }
  return answer;
}

// Of the models as the workers last had them open: a cached picture is good only for the very weights that drew it.
void Service::Impl::learn_fingerprints() {
  const std::vector<const Supervisor*> workers = dispatcher->workers();
  for (const Supervisor* w : std::views::reverse(workers)) {  // the first one has the last word: it is no fallback
    const nlohmann::json& d = w->description();
    if (d.contains("model") && d.contains("fingerprint")) fingerprints[d["model"]] = d["fingerprint"];
  }
}

void Service::Impl::schedule_tick() {
  timer.expires_after(kTick);
  timer.async_wait([this](boost::system::error_code error) {
    if (error) return;
    tick();
    schedule_tick();
  });
}

void Service::Impl::tick() {
  const double now = monotonic();
  board.tick();
  sessions.tick();
  dispatcher->tick();
  brown_out.update(now, predicted_wait(), usual_deadline(), utilisation());
  metrics.degrade_level(brown_out.level());
  metrics.jobs(board.running(), board.waiting());
  if (const auto bytes = resident_bytes()) metrics.resident_memory(static_cast<double>(*bytes));
  for (const Supervisor* w : dispatcher->workers()) {
    metrics.breaker_state(w->device(), static_cast<int>(w->breaker().state()));
    metrics.device_memory(w->device(), w->description().value("device_bytes", 0.0));
    if (const auto sample = gpu_of(w->device())) metrics.gpu_utilisation(w->device(), sample->utilisation);
  }
  history.sample(now, unix_seconds(), board.waiting(), board.running(), metrics.latency(now).p95, board.totals().done);
  check_drained();
}

void Service::Impl::check_drained() {
  if (!draining || !drained) return;
  if (board.waiting() + board.running() > 0 && monotonic() < drain_until) return;
  dispatcher->stop();
  std::exchange(drained, {})();
}

Service::Service(asio::io_context& io, ServiceOptions options)
    : impl_(std::make_unique<Impl>(io, std::move(options))) {}
Service::~Service() = default;

Service::Answer Service::submit(Submission submission) { return impl_->submit(std::move(submission)); }

void Service::start() {
  impl_->dispatcher->start();
  impl_->schedule_tick();
}

void Service::drain(double grace_seconds, std::function<void()> done) {
  impl_->draining = true;
  impl_->drain_until = monotonic() + grace_seconds;
  impl_->drained = std::move(done);
  impl_->check_drained();
}

JobBoard& Service::board() { return impl_->board; }
Sessions& Service::sessions() { return impl_->sessions; }
const WishLimits& Service::limits() const { return impl_->limits; }
HttpLimits Service::http_limits() const {
  HttpLimits limits;
  limits.connections = static_cast<size_t>(impl_->config.limits.connections);
  limits.connections_per_address = static_cast<size_t>(impl_->config.limits.connections_per_address);
  return limits;
}
nlohmann::json Service::job_json(const Job& job) const { return impl_->job_json(job); }
nlohmann::json Service::stats() const { return impl_->stats(); }
std::string Service::metrics() const { return impl_->metrics.text(); }
bool Service::ready() const { return !impl_->draining && impl_->dispatcher->ready(); }

std::optional<double> Service::rate_limited(const std::string& who) { return impl_->rate.limited(who, monotonic()); }

void Service::count_request(const std::string& route, int status, double seconds) {
  impl_->metrics.http_request(route, status, seconds);
}

void Service::log(const std::string& event, nlohmann::json fields) {
  impl_->log.write(LogLevel::info, event, std::move(fields));
}

void Service::set_http_counters(std::function<nlohmann::json()> counters) {
  impl_->http_counters = std::move(counters);
}

}  // namespace inkling::server
