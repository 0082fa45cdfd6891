#include "server/jobs/dispatcher.h"

#include <algorithm>

#include "base/error.h"
#include "server/cache/sha256.h"
#include "server/policy/router.h"

namespace inkling::server {

namespace {
constexpr const char* kWarmUp = "warm-up";
}

struct Dispatcher::Device {
  DeviceOptions options;
  std::unique_ptr<Supervisor> supervisor;
  std::map<std::string, std::shared_ptr<Work>> in_flight;
  size_t batch_size = 1;
  double batch_started = 0, last_progress = 0, last_step = 0;
  bool drawing = false;  // a denoising step was reported
  bool started = false, warm = false, warming = false;
  std::string answer;  // hash of the warm-up picture

  bool free() const { return warm && supervisor->state() == Supervisor::State::ready; }
  bool working() const { return warm && (free() || supervisor->state() == Supervisor::State::busy); }
};

Dispatcher::Dispatcher(boost::asio::io_context& io, JobBoard& board, DispatcherOptions options,
                       std::function<double()> now, Hooks hooks)
    : board_(board), options_(std::move(options)), now_(std::move(now)), hooks_(std::move(hooks)) {
  for (const DeviceOptions& o : options_.devices) {
    Device& device = *devices_.emplace_back(std::make_unique<Device>());
    device.options = o;
    SupervisorOptions supervisor = options_.supervisor;
    supervisor.command = o.command;
    device.supervisor = std::make_unique<Supervisor>(
        io, o.name, supervisor, options_.breaker, now_,
        Supervisor::Events{[this, &device] { on_ready(device); },
                           [this, &device](const Frame& frame) { on_message(device, frame); },
                           [this, &device](const std::string& reason) { on_died(device, reason); }});
  }
}

Dispatcher::~Dispatcher() = default;

void Dispatcher::start() {
  for (const auto& device : devices_) {
    if (device->options.fallback) continue;
    device->started = true;
    device->supervisor->start();
  }
}

bool Dispatcher::fallback_wanted() const {
  return std::ranges::none_of(devices_, [](const auto& d) {
    return !d->options.fallback && d->supervisor->state() != Supervisor::State::open;
  });
}

void Dispatcher::on_ready(Device& device) {
  for (const auto& [id, work] : std::exchange(device.in_flight, {})) board_.lost(work, "the worker passed it over");
  if (!device.warm && !device.warming) {
    if (!options_.warm_up_prompt.empty()) return warm_up(device);
    device.warm = true;
  }
  if (device.warming) return;  // its picture has not come: on_warm decides
  dispatch();
}

void Dispatcher::warm_up(Device& device) {
  device.warming = true;
  DrawRequest wish;
  wish.prompt = options_.warm_up_prompt;
  wish.steps = 1;
  wish.model = options_.warm_up_model;
  device.batch_started = device.last_progress = now_();
  device.drawing = false;
  device.supervisor->run({{{"type", "run"},
                           {"model", hooks_.model(options_.warm_up_model)},
                           {"jobs", {{{"id", kWarmUp}, {"request", to_json(wish)}}}}},
                          {}});
}

// The picture that a new process draws first must be the one that this device always drew: a device that computes
// plausible nonsense is caught here.
void Dispatcher::on_warm(Device& device, const Frame& frame) {
  if (frame.message["type"] == "failed")
    return device.supervisor->kill("the warm-up picture failed: " + frame.message.value("message", ""));
  if (frame.message["type"] != "done") return;
  const std::string hash = frame.blobs.empty() ? "" : sha256_hex(*frame.blobs.front());
  std::string& known = known_answers_[device.options.name + " " + options_.warm_up_model];
  if (known.empty()) known = hash;
  if (known != hash) {
    known.clear();  // a changed model file may be the cause: the next process decides anew
    return device.supervisor->kill("the warm-up picture differs from the one drawn before");
  }
  device.warming = false;
  device.warm = true;
  device.supervisor->succeeded();
}

// Slower, and not to the bit what the GPU would draw: the answer says so.
void Dispatcher::on_fallback(const Work& work) {
  for (const JobPointer& job : work.jobs)
    if (std::ranges::find(job->degradations, kDrawnOnCpu) == job->degradations.end())
      job->degradations.emplace_back(kDrawnOnCpu);
}

void Dispatcher::dispatch() {
  const bool fallback = fallback_wanted();
  for (const auto& device : devices_) {
    if (device->options.fallback && fallback && !device->started && !stopping_) {
      device->started = true;
      device->supervisor->start();
    }
    if (!device->free() || (device->options.fallback && !fallback)) continue;
    const auto together = [](const Work& a, const Work& b) {
      const DrawRequest &x = a.wish, &y = b.wish;
      return !x.edit() && !y.edit() && x.latent_path.empty() && y.latent_path.empty() && x.model == y.model &&
             x.width == y.width && x.height == y.height && x.steps == y.steps && x.cfg_scale == y.cfg_scale &&
             x.n == y.n && x.negative_prompt.has_value() == y.negative_prompt.has_value();
    };
    const auto batch = board_.take([](const Work&) { return true; }, together, options_.batch);
    if (batch.empty()) return;
    Frame frame{
        {{"type", "run"}, {"model", hooks_.model(batch.front()->wish.model)}, {"jobs", nlohmann::json::array()}}, {}};
    for (const auto& work : batch) {
      frame.message["jobs"].push_back({{"id", work->id}, {"request", to_json(work->wish)}});
      append_blobs(work->wish, frame.blobs);
      device->in_flight[work->id] = work;
      if (device->options.fallback) on_fallback(*work);
    }
    device->batch_size = batch.size();
    device->batch_started = device->last_progress = device->last_step = now_();
    device->drawing = false;
    device->supervisor->run(frame);
  }
}

void Dispatcher::on_message(Device& device, const Frame& frame) {
  device.last_progress = now_();
  const std::string type = frame.message["type"], id = frame.message.value("id", "");
  if (device.warming && id == kWarmUp) return on_warm(device, frame);
  const auto found = device.in_flight.find(id);
  if (found == device.in_flight.end()) return;
  const std::shared_ptr<Work> work = found->second;
  if (type == "progress") {
    const std::string phase = frame.message.value("phase", "");
    const int step = frame.message.value("step", 0);
    if (phase == "denoise") {
      if (device.drawing && step > 1) hooks_.step(now_() - device.last_step, work->wish.model);
      device.drawing = true;
      device.last_step = now_();
    }
    return board_.progress(*work, phase, step, frame.message.value("steps", 0));
  }
  if (type == "preview" && !frame.blobs.empty())
    return board_.preview(*work, frame.message.value("step", 0), frame.blobs.front());
  if (type == "done") {
    device.in_flight.erase(id);
    std::vector<Picture> pictures;
    const nlohmann::json& described = frame.message.at("pictures");
    if (described.size() != frame.blobs.size())
      throw RuntimeError("worker link: pictures and their description differ");
    for (size_t i = 0; i < frame.blobs.size(); ++i)
      pictures.push_back({frame.blobs[i], described[i].at("width"), described[i].at("height"), described[i].at("seed"),
                          described[i].value("similarity", nlohmann::json())});
    device.supervisor->succeeded();
    hooks_.drawn({*work, pictures, (now_() - device.batch_started) / static_cast<double>(device.batch_size),
                  frame.message, *device.supervisor});
    return board_.succeed(work, pictures, frame.message.value("notes", std::vector<std::string>()),
                          frame.message.value("seconds", nlohmann::json::object()));
  }
  if (type == "failed") {
    const std::string kind = frame.message.value("kind", "");
    if (kind == "device") return;  // the process ends itself; its works are tried again
    device.in_flight.erase(id);
    if (kind == "cancelled") return board_.stopped(work);
    board_.fail(work, hooks_.explain(*work, frame.message));
  }
}

void Dispatcher::on_died(Device& device, const std::string& reason) {
  device.warm = device.warming = false;
  hooks_.died(device.options.name, reason);
  // In the order in which they waited.
  auto lost = std::exchange(device.in_flight, {});
  std::vector<std::shared_ptr<Work>> works;
  for (const auto& [id, work] : lost) works.push_back(work);
  std::ranges::sort(works, std::greater(),
                    [](const auto& w) { return w->jobs.empty() ? 0.0 : w->jobs.front()->created; });
  for (const auto& work : works) board_.lost(work, reason);
  dispatch();
}

void Dispatcher::abandon(const std::string& work) {
  for (const auto& device : devices_)
    if (device->in_flight.contains(work)) device->supervisor->cancel(work);
}

void Dispatcher::tick() {
  for (const auto& device : devices_) {
    if (device->supervisor->state() != Supervisor::State::busy) continue;
    double limit = options_.load_seconds;
    if (device->drawing && !device->in_flight.empty())
      limit = std::max(options_.step_seconds, 10 * hooks_.usual_step(device->in_flight.begin()->second->wish.model));
    if (now_() - device->last_progress > limit) device->supervisor->kill("it made no progress");
  }
  dispatch();
}

void Dispatcher::stop() {
  stopping_ = true;
  for (const auto& device : devices_) device->supervisor->stop();
}

bool Dispatcher::ready() const {
  return std::ranges::any_of(devices_, [](const auto& d) { return d->working(); });
}

std::vector<const Supervisor*> Dispatcher::workers() const {
  std::vector<const Supervisor*> all;
  for (const auto& device : devices_)
    if (device->started) all.push_back(device->supervisor.get());
  return all;
}

}  // namespace inkling::server
