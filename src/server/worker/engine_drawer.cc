// Draws with the real thing: one engine at a time, kept loaded between wishes; another model replaces it.
#include "pipeline/engine.h"
#include "pipeline/latent_file.h"
#include "pipeline/options.h"
#include "server/worker/drawer.h"

namespace inkling::server {

namespace {

Request to_request(const ReadyWish& ready) {
  const DrawRequest& w = ready.wish;
  Request r;
  r.prompt = w.prompt;
  r.negative_prompt = w.negative_prompt;
  r.style = w.style;
  r.images = ready.images;
  r.mask = ready.mask;
  r.geometry = w.geometry == "reference" ? Geometry::reference : Geometry::keep;
  r.width = w.width;
  r.height = w.height;
  r.steps = w.steps;
  r.cfg_scale = static_cast<float>(w.cfg_scale);
  r.seed = w.seed;
  r.batch = w.n;
  if (!w.latent_path.empty()) r.latents = read_latents(w.latent_path).latents;
  return r;
}

class EngineDrawer : public Drawer {
 public:
  EngineDrawer(std::string device, std::string max_vram) : device_(std::move(device)), max_vram_(std::move(max_vram)) {}

  void open(const ModelSpec& model) override {
    if (engine_ && model.id == model_.id) return;
    engine_.reset();  // two models never share the memory that was planned for one
    OptionValues values;
    if (!model.path.empty()) values.set("model", model.path);
    if (!max_vram_.empty() && device_ != "cpu") values.set("max-vram", max_vram_);
    values.set("device", device_);
    values.set("precision", model.precision);
    EngineOptions options = make_engine_options(values);
    options.keep_loaded = true;
    options.embedding_cache_bytes = model.embedding_bytes;
    engine_ = std::make_unique<Engine>(options);
    model_ = model;
  }

  std::vector<DrawOutcome> draw(std::span<const ReadyWish> wishes, std::span<const Callbacks> callbacks) override {
    std::vector<DrawOutcome> outcomes(wishes.size());
    std::vector<Request> requests;
    std::vector<Callbacks> calls;
    std::vector<size_t> members;
    for (size_t i = 0; i < wishes.size(); ++i) try {
        requests.push_back(to_request(wishes[i]));
        calls.push_back(callbacks[i]);
        members.push_back(i);
      } catch (...) {
        outcomes[i].error = std::current_exception();
      }
    std::vector<Outcome> drawn = engine_->run_batch(requests, calls);
    for (size_t k = 0; k < members.size(); ++k) take(drawn[k], outcomes[members[k]]);
    return outcomes;
  }

  nlohmann::json describe() const override {
    nlohmann::json j{{"device", device_}, {"device_bytes", device_bytes_}};
    if (!engine_) return j;
    j["model"] = model_.id;
    j["fingerprint"] = engine_->fingerprint();
    j["name"] = engine_->model_name();
    const EmbeddingCacheStats cache = engine_->embedding_cache_stats();
    j["embedding_cache"] = {
        {"hits", cache.hits}, {"misses", cache.misses}, {"entries", cache.entries}, {"bytes", cache.bytes}};
    return j;
  }

 private:
  void take(Outcome& from, DrawOutcome& to) {
    to.error = from.error;
    if (!from.result) return;
    Result& result = *from.result;
    for (size_t i = 0; i < result.images.size(); ++i)
      to.pictures.push_back({std::move(result.images[i]), result.seeds[i]});
    to.notes = std::move(result.notes);
    to.seconds = std::move(result.seconds);
    to.precision = result.precision;
    to.embedding_cached = result.embedding_cached;
    device_bytes_ = result.device_bytes;
  }

  std::string device_, max_vram_;
  std::unique_ptr<Engine> engine_;
  ModelSpec model_;
  int64_t device_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Drawer> make_engine_drawer(const std::string& device, const std::string& max_vram) {
  return std::make_unique<EngineDrawer>(device, max_vram);
}

}  // namespace inkling::server
