#include "server/worker/worker.h"

#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/threads.h"
#include "editing/instruction.h"
#include "editing/mask.h"
#include "editing/packaging.h"
#include "editing/postprocess.h"
#include "editing/similarity.h"
#include "formats/resample.h"
#include "safety/safety.h"
#include "server/cache/sha256.h"
#include "server/worker/decoder.h"
#include "server/worker/drawer.h"
#include "server/worker/frame.h"

namespace inkling::server {

namespace {

constexpr int kUntrusted = 70;     // exit code: what this device computes can no longer be believed
constexpr int kPreviewSide = 256;  // pixels
constexpr ImageLimits kUploads{.max_bytes = 16 << 20, .max_pixels = 24'000'000, .max_side = 16384};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
Blob blob_of(const std::vector<std::byte>& bytes) {
  return std::make_shared<const std::string>(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// Both directions of the socket. Reading happens on a thread of its own, so that cancelling and pings get through while
// the device computes.
class Link {
 public:
  explicit Link(int socket) : socket_(socket) {}

  void send(const nlohmann::json& message, std::vector<Blob> blobs = {}) {
    const std::string bytes = encode_frame({message, std::move(blobs)});
    const std::lock_guard lock(writing_);
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) _exit(0);  // the server is gone
      sent += static_cast<size_t>(n);
    }
  }

  // Blocks. nullopt: the server closed the link.
  std::optional<Frame> receive() {
    for (;;) {
      if (auto frame = reader_.next()) return frame;
      char chunk[64 * 1024];
      const ssize_t n = ::recv(socket_, chunk, sizeof(chunk), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return std::nullopt;
      reader_.feed(chunk, static_cast<size_t>(n));
    }
  }

 private:
  int socket_;
  std::mutex writing_;
  FrameReader reader_;
};

struct Task {
  std::string id;
  DrawRequest wish;
  CancelToken cancel;
};

class Worker {
 public:
  explicit Worker(const WorkerOptions& options)
      : options_(options),
        link_(options.socket),
        drawer_(options.synthetic_ms > 0 ? make_synthetic_drawer(options.synthetic_ms, options.synthetic_faults)
                                         : make_engine_drawer(options.device, options.max_vram)) {
    if (options.safety) safety_ = std::make_unique<SafetyFilter>();
  }

  [[noreturn]] void run() {
    link_.send({{"type", "ready"}, {"pid", getpid()}, {"device", options_.device}});
    std::thread([this] { listen(); }).detach();  // ends with the process
    for (;;) {
      std::optional<Frame> batch;
      {
        std::unique_lock lock(mutex_);
        arrived_.wait(lock, [this] { return !batches_.empty(); });
        batch = std::move(batches_.front());
        batches_.pop_front();
      }
      // Never idle again: its works go to another process. At once, as the other thread still listens and what belongs
      // to a lost device cannot be given back.
      if (!run_batch(*batch)) _exit(kUntrusted);
      link_.send({{"type", "idle"}, {"drawer", drawer_->describe()}});
    }
  }

 private:
  void listen() {
    try {
      while (auto frame = link_.receive()) {
        const std::string type = frame->message["type"];
        if (type == "ping") link_.send({{"type", "pong"}});
        const std::lock_guard lock(mutex_);
        if (type == "run") batches_.push_back(std::move(*frame));
        if (type == "cancel") {
          const std::string id = frame->message.value("id", "");
          cancelled_.push_back(id);
          if (cancelled_.size() > 256) cancelled_.pop_front();
          for (Task& task : tasks_)
            if (task.id == id) task.cancel.cancel();
        }
        arrived_.notify_one();
      }
    } catch (const std::exception&) {
      // A garbled link: nothing that this process says would be understood.
    }
    _exit(0);
  }

  // Wishes of one shape and one model. False: the process must end.
  bool run_batch(const Frame& frame) {
    size_t next_blob = 0;
    {
      const std::lock_guard lock(mutex_);
      tasks_.clear();
      for (const nlohmann::json& job : frame.message.at("jobs")) {
        Task& task = tasks_.emplace_back();
        task.id = job.at("id");
        task.wish = draw_request_from_json(job.at("request"), frame.blobs, next_blob);
        if (std::ranges::find(cancelled_, task.id) != cancelled_.end()) task.cancel.cancel();
      }
    }
    bool trusted = true;
    try {
      const nlohmann::json& model = frame.message.at("model");
      drawer_->open({model.at("id"), model.at("path"), model.at("precision"), model.at("embedding_bytes")});
      trusted = draw();
    } catch (...) {
      for (const Task& task : tasks_) trusted = fail(task.id, std::current_exception()) && trusted;
    }
    const std::lock_guard lock(mutex_);
    tasks_.clear();
    return trusted;
  }

  bool draw() {
    std::vector<ReadyWish> wishes;
    std::vector<Callbacks> callbacks;
    std::vector<Task*> members;
    bool trusted = true;
    for (Task& task : tasks_) {
      try {
        task.cancel.throw_if_cancelled();
        wishes.push_back(make_ready(task.wish));
        callbacks.push_back(callbacks_of(task));
        members.push_back(&task);
      } catch (...) {
        trusted = fail(task.id, std::current_exception()) && trusted;
      }
    }
    if (wishes.empty()) return trusted;
    std::vector<DrawOutcome> outcomes = drawer_->draw(wishes, callbacks);
    for (size_t i = 0; i < outcomes.size(); ++i) {
      try {
        if (outcomes[i].error) std::rethrow_exception(outcomes[i].error);
        deliver(*members[i], wishes[i], outcomes[i]);
      } catch (...) {
        trusted = fail(members[i]->id, std::current_exception()) && trusted;
      }
    }
    return trusted;
  }

  bool looks_at(const DrawRequest& wish) const { return safety_ != nullptr && wish.check_pictures; }
  void check_safe(const DrawRequest& wish, const Image& picture, const char* what) const {
    if (!looks_at(wish)) return;
    if (const SafetyVerdict verdict = safety_->check_picture(picture); verdict.blocked)
      throw BlockedError("{}: {}", what, verdict.category);
  }

  ReadyWish make_ready(const DrawRequest& wish) const {
    ReadyWish ready{wish, {}, {}};
    for (size_t i = 0; i < wish.images.size(); ++i) {
      ready.images.push_back(decoder_.image(bytes_of(*wish.images[i]), fmt::format("images[{}]", i), kUploads));
      if (ready.images.back().width < 16 || ready.images.back().height < 16)
        throw ArgumentError("images[{}]: is {}x{}, at least 16x16 is needed", i, ready.images.back().width,
                            ready.images.back().height);
      check_safe(wish, ready.images.back(), "upload");
    }
    if (wish.mask != nullptr) {
      bool from_alpha = false;
      ready.mask = decoder_.mask(bytes_of(*wish.mask), "mask", kUploads, &from_alpha);
      // OpenAI's masks are transparent where the picture may change; one without transparency is read as ours.
      if (from_alpha && wish.mask_polarity == MaskPolarity::transparent_edits)
        for (uint8_t& p : ready.mask->pixels) p = static_cast<uint8_t>(255 - p);
      const Image& first = ready.images.front();
      if (ready.mask->width != first.width || ready.mask->height != first.height)
        throw ArgumentError("mask: is {}x{}, the first picture is {}x{}; they must have the same size",
                            ready.mask->width, ready.mask->height, first.width, first.height);
    } else if (wish.auto_mask && wish.edit()) {
      ready.mask = make_mask(parse_instruction(wish.prompt), ready.images.front());
    }
    return ready;
  }

  Callbacks callbacks_of(Task& task) {
    Callbacks callbacks;
    callbacks.cancel = &task.cancel;
    callbacks.progress = [this, id = task.id](const Progress& p) {
      link_.send({{"type", "progress"}, {"id", id}, {"phase", p.phase}, {"step", p.step}, {"steps", p.total}});
    };
    if (task.wish.preview) {
      callbacks.preview = [this, id = task.id, looks = looks_at(task.wish)](int step, const Image& image) {
        // What is shown before the end is looked at like the end itself.
        if (looks && safety_->check_picture(image).blocked) return;
        const int longer = std::max(image.width, image.height);
        const Image small = longer <= kPreviewSide
                                ? image
                                : resample(image, std::max(1, image.width * kPreviewSide / longer),
                                           std::max(1, image.height * kPreviewSide / longer), ResampleFilter::bicubic);
        link_.send({{"type", "preview"}, {"id", id}, {"step", step}}, {blob_of(encode_jpeg(small, 70))});
      };
    }
    return callbacks;
  }

  void deliver(const Task& task, const ReadyWish& ready, DrawOutcome& outcome) {
    const PostProcess after =
        task.wish.postprocess.is_null() ? PostProcess{} : parse_postprocess(task.wish.postprocess);
    nlohmann::json pictures = nlohmann::json::array();
    std::vector<Blob> blobs;
    for (DrawnPicture& drawn : outcome.pictures) {
      if (options_.synthetic_ms <= 0) check_safe(task.wish, drawn.image, "result");
      const Image* original = ready.images.empty() ? nullptr : &ready.images.front();
      const Image* mask = ready.mask ? &*ready.mask : nullptr;
      // Before sizes and colours are changed on purpose.
      const auto kept = original != nullptr ? similarity(*original, drawn.image, mask) : std::nullopt;
      const Image image = apply_postprocess(after, std::move(drawn.image), original, mask);
      Packaging packaging;
      packaging.format = task.wish.output_format;
      packaging.quality = task.wish.quality;
      packaging.visible_label = task.wish.label;
      packaging.content_id = sha256_hex(to_json(task.wish).dump()).substr(0, 32);  // same wish, same bytes
      packaging.chinese = language_of(task.wish.prompt) == Language::chinese;
      blobs.push_back(blob_of(package_picture(image, packaging)));
      pictures.push_back({{"seed", drawn.seed}, {"width", image.width}, {"height", image.height}});
      if (kept) pictures.back()["similarity"] = {{"psnr", kept->psnr}, {"ssim", kept->ssim}, {"share", kept->share}};
    }
    link_.send({{"type", "done"},
                {"id", task.id},
                {"pictures", pictures},
                {"notes", outcome.notes},
                {"seconds", outcome.seconds},
                {"precision", outcome.precision},
                {"embedding_cached", outcome.embedding_cached}},
               std::move(blobs));
  }

  // Says why; false when the device itself is broken, which only a new process cures.
  bool fail(const std::string& id, const std::exception_ptr& error) {
    std::string kind = "runtime", text;
    bool trusted = true;
    try {
      std::rethrow_exception(error);
    } catch (const Error& e) {
      text = e.what();
      switch (e.kind()) {
        case ErrorKind::argument: kind = "argument"; break;
        case ErrorKind::model: kind = "model"; break;
        case ErrorKind::memory: kind = "memory"; break;
        case ErrorKind::blocked: kind = "blocked"; break;
        case ErrorKind::numeric: kind = "numeric"; break;
        case ErrorKind::cancelled: kind = "cancelled"; break;
        // On a GPU what is left of "something failed" is a lost context: every later answer would be wrong.
        case ErrorKind::runtime: trusted = options_.device == "cpu"; break;
      }
    } catch (const std::bad_alloc&) {
      kind = "memory", text = "the machine is out of memory";
    } catch (const std::exception& e) {
      text = e.what();
    }
    if (!trusted) kind = "device";
    link_.send({{"type", "failed"}, {"id", id}, {"kind", kind}, {"message", text}});
    return trusted;
  }

  const WorkerOptions options_;
  Link link_;
  std::unique_ptr<Drawer> drawer_;
  std::unique_ptr<SafetyFilter> safety_;
  const DecoderProcess decoder_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable arrived_;
  std::deque<Frame> batches_;
  std::deque<Task> tasks_;  // of the present batch; addresses stay
  std::deque<std::string> cancelled_;
};

}  // namespace

void run_worker(const WorkerOptions& options) {
  if (options.threads > 0) set_thread_count(options.threads);
  Worker(options).run();
}

}  // namespace inkling::server
