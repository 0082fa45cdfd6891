// What the service tells of itself: a job, the state of everything, models, what the pages need to know.
#include "editing/postprocess.h"
#include "server/service_impl.h"

namespace inkling::server {

namespace {

template <typename Cache>
nlohmann::json cache_json(const Cache& cache) {
  const CacheStats s = cache.stats();
  return {{"hits", s.hits},       {"misses", s.misses},   {"entries", s.entries},        {"bytes", s.bytes},
          {"evicted", s.evicted}, {"corrupt", s.corrupt}, {"in_order", cache.in_order()}};
}

}  // namespace

nlohmann::json Service::Impl::job_json(const Job& job) const {
  const double now = monotonic();
  nlohmann::json j{{"id", job.id},
                   {"object", "job"},
                   {"status", name(job.status)},
                   {"created", job.created_unix},
                   {"profile", job.wish.profile},
                   {"prompt", job.wish.instruction.empty() ? job.wish.prompt : job.wish.instruction},
                   {"queue_position", nullptr},
                   {"eta_s", nullptr},
                   {"phase", job.phase},
                   {"step", job.step},
                   {"steps", job.steps},
                   {"degraded", !job.degradations.empty()},
                   {"degradations", job.degradations},
                   {"model", job.model},
                   {"model_reason", job.model_reason},
                   {"cache", or_null(job.cache)},
                   {"images", nlohmann::json::array()},
                   {"error", job.error ? job.error->json()["error"] : nlohmann::json()},
                   {"notes", job.notes},
                   {"session", or_null(job.session)},
                   {"node", or_null(job.node)}};
  if (const auto position = board.position(job)) j["queue_position"] = *position;
  if (!is_over(job.status) && job.work) {
    double ahead = 0;
    if (job.status == JobStatus::queued) {
      for (const auto& work : board.waiting_works()) {
        if (work == job.work) break;
        ahead += work->service_s;
      }
      for (const auto& work : board.running_works()) ahead += work->service_s / 2;
      ahead = ahead / std::max(1, capacity()) + job.work->service_s;
    } else {
      ahead = job.work->service_s * (job.steps > 0 ? 1 - static_cast<double>(job.step) / job.steps : 1);
    }
    j["eta_s"] = ahead;
  }
  for (size_t i = 0; i < job.pictures.size(); ++i)
    j["images"].push_back({{"url", "/v1/jobs/" + job.id + "/images/" + std::to_string(i)},
                           {"seed", job.pictures[i].seed},
                           {"width", job.pictures[i].width},
                           {"height", job.pictures[i].height},
                           {"format", job.wish.output_format},
                           {"similarity", job.pictures[i].similarity}});
  const double end = is_over(job.status) ? job.finished : now;
  j["timings"] = {{"queue_s", (job.started > 0 ? job.started : end) - job.created},
                  {"run_s", job.started > 0 ? end - job.started : 0.0},
                  {"phases", job.seconds.is_null() ? nlohmann::json::object() : job.seconds}};
  return j;
}

nlohmann::json Service::Impl::stats() const {
  const double now = monotonic();
  nlohmann::json workers = nlohmann::json::array();
  nlohmann::json embedding{{"hits", 0}, {"misses", 0}, {"entries", 0}, {"bytes", 0}};
  for (const Supervisor* w : dispatcher->workers()) {
    const nlohmann::json& d = w->description();
    nlohmann::json load;
    if (const auto s = gpu_of(w->device()))
      load = {{"utilisation", s->utilisation}, {"used_bytes", s->used_bytes}, {"total_bytes", s->total_bytes}};
    if (d.contains("embedding_cache"))
      for (const char* field : {"hits", "misses", "entries", "bytes"})
        embedding[field] = embedding[field].get<int64_t>() + d["embedding_cache"].value(field, int64_t{0});
    workers.push_back({{"device", w->device()},
                       {"state", name(w->state())},
                       {"pid", w->pid()},
                       {"restarts", w->restarts()},
                       {"breaker", name(w->breaker().state())},
                       {"model", d.value("model", "")},
                       {"device_bytes", d.value("device_bytes", int64_t{0})},
                       {"memory_bytes", w->pid() > 0 ? resident_bytes(w->pid()).value_or(0) : 0},
                       {"gpu", load}});
  }
  const BoardTotals& t = board.totals();
  const auto latency = metrics.latency(now), queue = metrics.queue(now);
  nlohmann::json j{
      {"uptime_s", now - started},
      {"version", INKLING_VERSION},
      {"workers", workers},
      {"queue",
       {{"waiting", board.waiting()},
        {"running", board.running()},
        {"limit", config.limits.queue},
        {"predicted_wait_s", predicted_wait()}}},
      {"degrade", {{"level", brown_out.level()}, {"reason", brown_out.reason()}}},
      {"totals",
       {{"accepted", t.accepted},
        {"done", t.done},
        {"failed", t.failed},
        {"cancelled", t.cancelled},
        {"refused", refused},
        {"rejected", rejected}}},
      {"latency", {{"p50_s", latency.p50}, {"p95_s", latency.p95}, {"p99_s", latency.p99}, {"queue_p95_s", queue.p95}}},
      {"step_s", times.step_seconds(config.models.front().id)},
      {"cache",
       {{"result", results ? cache_json(*results) : nlohmann::json::object()},
        {"template", templates ? cache_json(*templates) : nlohmann::json::object()},
        {"latent", {{"hits", pool_hits}, {"misses", pool_misses}, {"entries", pool.size()}}},
        {"embedding", embedding}}},
      {"safety_blocks", blocks},
      {"oom", oom},
      {"sessions", sessions.size()},
      {"history", history.json()}};
  if (http_counters) j["http"] = http_counters();
  return j;
}

nlohmann::json Service::models() const {
  nlohmann::json data = nlohmann::json::array();
  for (const ModelEntry& m : impl_->config.models)
    data.push_back({{"id", m.id},
                    {"object", "model"},
                    {"created", static_cast<int64_t>(impl_->started_unix)},
                    {"owned_by", "inkling"},
                    {"kind", name(m.kind)},
                    {"edit", m.edit},
                    {"generate", m.text}});
  return {{"object", "list"}, {"data", data}};
}

nlohmann::json Service::config() const {
  const WishLimits& l = impl_->limits;
  nlohmann::json presets = nlohmann::json::array();
  for (const SizePreset& p : size_presets())
    presets.push_back({{"id", p.name}, {"width", p.width}, {"height", p.height}});
  const int side = impl_->config.models.front().side;
  nlohmann::json sizes = nlohmann::json::array();
  for (const int s : {256, 384, 512, 768, 1024})
    if (s <= std::max(side, 256)) sizes.push_back(s);
  return {{"profile", impl_->options.profile},
          {"profiles", {"kids", "editor", "open"}},
          {"styles", {"none", "kids_cute_v2"}},
          {"models", models()["data"]},
          {"limits",
           {{"max_images", l.max_images},
            {"max_image_bytes", l.image_bytes},
            {"max_n", l.max_n},
            {"max_side", l.max_side},
            {"prompt_chars", l.prompt_characters}}},
          {"default_size", side},
          {"sizes", sizes},
          {"size_presets", presets},
          {"chain_limit", impl_->sessions.limits().chain},
          {"version", INKLING_VERSION}};
}

}  // namespace inkling::server
