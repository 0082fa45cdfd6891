#include "pipeline/batch_run.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "diffusion/latents.h"
#include "pipeline/encode_prompts.h"
#include "pipeline/picture.h"
#include "pipeline/preview.h"

namespace inkling {

namespace {

using Part = Parts::Part;

// Steps whose modulation stays on the device for the whole run.
constexpr int kStepsOnDevice = 8;

// No member is left.
struct Stopped {};

using Member = RunMember;

// A picture of a member.
struct Unit {
  Member* member;
  int picture;
};

class Run {
 public:
  Run(Ops& ops, Parts& parts, std::span<const BatchMember> members, int together, const RunServices& services,
      const PhaseFn& phase)
      : ops_(ops), parts_(parts), services_(services), phase_(phase), together_(together) {
    for (const BatchMember& m : members) members_.push_back({*m.job, *m.callbacks, {}, {}, {}, 0});
    const auto hook = [this] {
      if (std::ranges::all_of(members_, [](const Member& m) { return !m.live() || cancelled(m); })) leave();
    };
    ops_.set_stop_hook(hook);
    parts_.set_stop_hook(hook);
  }
  ~Run() {
    ops_.set_stop_hook({});
    parts_.set_stop_hook({});
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  std::vector<JobResult> operator()() {
    try {
      all_phases();
    } catch (const Stopped&) {
      stopped();
    }
    std::vector<JobResult> results;
    for (Member& m : members_) {
      if (!m.live()) m.result = {{}, {}, false, m.result.error};
      results.push_back(std::move(m.result));
    }
    return results;
  }

 private:
  const Job& first() const { return members_.front().job; }  // for what all members agree in

  void all_phases() {
    if (!first().latents.empty()) {
      for (Member& m : members_) m.result.latents = m.job.latents;
      return decode();
    }
    fit_preview();
    encode_prompts(ops_, parts_, services_, members_,
                   {[this](const char* phase) { begin(phase); }, [this] { leave(); }});
    encode_references();
    make_modulation();
    denoise();
    decode();
  }

  void begin(const char* name) {
    if (phase_) phase_(name);
    leave();
  }

  static bool cancelled(const Member& m) { return m.callbacks.cancel != nullptr && m.callbacks.cancel->cancelled(); }

  // Members that were cancelled are out from here on.
  void leave() {
    bool any = false;
    for (Member& m : members_) {
      if (m.live() && cancelled(m)) m.result.error = std::make_exception_ptr(CancelledError("stopped by the user"));
      any = any || m.live();
    }
    if (!any) throw Stopped();
  }

  void stopped() {
    denoiser_.reset();
    steps_.clear();
    for (const Part p :
         {Part::text_encoder, Part::vision, Part::modulation, Part::dit, Part::vae_encoder, Part::vae_decoder})
      parts_.done(p);
  }

  // --- references and modulation --------------------------------------------------------------------------------
  void encode_references() {
    const Job& any = first();
    pictures_ = {PictureShape{1, any.height / kPixelsPerToken, any.width / kPixelsPerToken}};
    if (any.references.empty()) return;
    for (const Tensor& r : any.references)
      pictures_.push_back({1, r.dim(0) / kPixelsPerToken, r.dim(1) / kPixelsPerToken});
    begin("encode image");
    for (Member& m : members_) {
      const int total = static_cast<int>(m.job.references.size());
      for (int i = 0; i < total && m.live(); ++i) {
        m.report("encode image", i, total);
        const Tensor image = ops_.upload(m.job.references[i]);
        m.references.push_back(pack_latents(ops_.download(parts_.vae_encoder().encode(ops_, image, m.job.tiling, i))));
        if (ops_.tracing()) ops_.trace("image_latents." + std::to_string(i), ops_.upload(m.references.back()));
        leave();
      }
      m.report("encode image", total, total);
    }
    parts_.done(Part::vae_encoder);
  }

  void make_modulation() {
    begin("modulation");
    const Schedule& schedule = first().schedule;
    std::vector<float> timesteps;
    for (int k = 0; k < schedule.steps(); ++k) timesteps.push_back(schedule.timestep(k));
    if (const auto* known = parts_.known_modulation(timesteps)) {
      steps_ = *known;
      return;
    }
    // 8.8 MB a step for the 20 B model: a long schedule waits in host memory.
    TensorMove place;
    if (schedule.steps() > kStepsOnDevice) place = [this](const Tensor& t) { return ops_.download(t); };
    steps_ = parts_.modulation().forward(ops_, timesteps, place);
    parts_.done(Part::modulation);
    parts_.keep_modulation(timesteps, steps_);
  }

  StepModulation step(int k) {
    if (first().schedule.steps() <= kStepsOnDevice) return steps_[k];
    return steps_[k].transferred([this](const Tensor& t) { return ops_.upload(t); });
  }

  // --- denoising ------------------------------------------------------------------------------------------------
  void denoise() {
    begin("denoise");
    std::vector<Unit> units;
    for (Member& m : members_) {
      m.result.latents.resize(m.job.noise.size());
      for (int i = 0; i < std::ssize(m.job.noise); ++i) units.push_back({&m, i});
    }
    if (services_.denoiser)
      denoiser_ = services_.denoiser(steps_, first().schedule.steps() <= kStepsOnDevice);
    else
      denoiser_ = std::make_unique<OneDeviceDenoiser>(ops_, parts_.dit(), [this](int k) { return step(k); });
    for (Member& m : members_) report_steps(m, 0);
    for (size_t at = 0; at < units.size();) {
      std::vector<Unit> group;
      for (; at < units.size() && std::ssize(group) < together_; ++at)
        if (units[at].member->live()) group.push_back(units[at]);
      denoise(group);
    }
    denoiser_.reset();
    parts_.done(Part::dit);
    steps_.clear();
  }

  void start(const std::vector<Unit>& group) {
    DenoiseInputs in;
    in.pictures = pictures_;
    in.cfg_scale = first().cfg_scale;
    const bool one_member = std::ranges::all_of(group, [&](const Unit& u) { return u.member == group[0].member; });
    for (const Unit& u : group) {
      in.positive.push_back(u.member->prompts[0]);
      if (u.member->job.negative) in.negative.push_back(u.member->prompts[1]);
      if (u.member->references.empty() || (one_member && !in.references.empty())) continue;
      in.references.push_back(concat_host_rows(u.member->references));
    }
    denoiser_->start(in);
  }

  // Pictures together, from noise to latents. Those of members that leave are dropped on the way.
  void denoise(std::vector<Unit> group) {
    if (group.empty()) return;
    const Schedule& schedule = first().schedule;
    start(group);
    std::vector<Tensor> parts;
    for (const Unit& u : group) parts.push_back(u.member->job.noise[u.picture]);
    Tensor x = ops_.upload(concat_host_rows(parts));
    parts.clear();
    ops_.trace("noise", x);
    const int64_t rows = x.rows() / std::ssize(group);
    for (int k = 0; k < schedule.steps(); ++k) {
      // Module traces are those of the first positive pass.
      const Tensor v = denoiser_->velocity(x, k, k == 0);
      ops_.trace("noise_pred." + std::to_string(k), v);
      x = ops_.axpby(1.f, x, schedule.delta(k), v);
      ops_.trace("latents." + std::to_string(k), x);
      Tensor now = ops_.download(x);
      for (size_t i = 0; i < group.size(); ++i) check_finite(group[i], now.slice_rows(i * rows, (i + 1) * rows), k);
      for (Member& m : members_) {
        const auto pictures =
            static_cast<int>(std::ranges::count_if(group, [&](const Unit& u) { return u.member == &m; }));
        if (pictures > 0) report_steps(m, pictures * (k + 1));
      }
      leave();
      preview(group, now, v, k);
      if (std::ranges::any_of(group, [](const Unit& u) { return !u.member->live(); })) {
        std::vector<Tensor> staying;
        for (size_t i = 0; i < group.size(); ++i)
          if (group[i].member->live()) staying.push_back(now.slice_rows(i * rows, (i + 1) * rows));
        std::erase_if(group, [](const Unit& u) { return !u.member->live(); });
        if (group.empty()) return denoiser_->stop();
        x = Tensor();
        now = concat_host_rows(staying);
        if (k + 1 < schedule.steps()) {
          start(group);
          x = ops_.upload(now);
        }
      }
      if (k + 1 < schedule.steps()) continue;
      for (size_t i = 0; i < group.size(); ++i) {
        group[i].member->result.latents[group[i].picture] = now.slice_rows(i * rows, (i + 1) * rows);
        ++group[i].member->pictures_done;
      }
    }
    denoiser_->stop();
  }

  void report_steps(const Member& m, int steps) const {
    const int each = m.job.schedule.steps();
    m.report("denoise", m.pictures_done * each + steps, each * static_cast<int>(m.job.noise.size()));
  }

  static void check_finite(const Unit& unit, const Tensor& latents, int step) {
    if (std::ranges::all_of(latents.span<float>(), [](float v) { return std::isfinite(v); })) return;
    if (!unit.member->live()) return;
    unit.member->result.error = std::make_exception_ptr(
        NumericError("step {}: the latents hold a value that is not finite; the model file may be damaged or the "
                     "precision too low (try --precision f32)",
                     step + 1));
  }

  // --- previews -------------------------------------------------------------------------------------------------
  static bool wants(const Member& m, PreviewSize size) {
    return m.callbacks.preview && m.callbacks.preview_size == size;
  }

  void fit_preview() {
    if (services_.preview == nullptr || services_.preview->ready()) return;
    if (std::ranges::none_of(members_, [](const Member& m) { return wants(m, PreviewSize::small); })) return;
    begin("prepare preview");
    const auto decode = [&](const Tensor& z) {
      return ops_.download(untraced(ops_, [&] { return parts_.vae_decoder().decode(ops_, ops_.upload(z)); }));
    };
    const int64_t cell = kPixelsPerToken / 2;
    services_.preview->fit(decode, first().height / cell, first().width / cell, first().noise[0].channels() / 4);
    parts_.done(Part::vae_decoder);
  }

  // What the remaining steps would give if the velocity stayed as it is.
  void preview(const std::vector<Unit>& group, const Tensor& now, const Tensor& velocity, int k) {
    if (std::ranges::none_of(group, [](const Unit& u) { return u.member->live() && u.member->callbacks.preview; }))
      return;
    const Schedule& schedule = first().schedule;
    const Tensor v = ops_.download(velocity);
    const int64_t rows = now.rows() / std::ssize(group);
    for (size_t i = 0; i < group.size(); ++i) {
      const Member& m = *group[i].member;
      if (!m.live() || !m.callbacks.preview) continue;
      Tensor predicted = host_tensor(Shape{rows, now.channels()});
      const size_t begin = static_cast<size_t>(i * rows * now.channels());
      for (size_t j = 0; j < predicted.span<float>().size(); ++j)
        predicted.span<float>()[j] = now.span<float>()[begin + j] - schedule.sigmas[k + 1] * v.span<float>()[begin + j];
      const int number = group[i].picture * schedule.steps() + k + 1;
      if (wants(m, PreviewSize::full))
        m.callbacks.preview(number, to_image(decode_one(m.job, predicted, false)));
      else if (services_.preview != nullptr)
        m.callbacks.preview(number, services_.preview->apply(to_map(m.job, predicted)));
    }
  }

  // --- decoding -------------------------------------------------------------------------------------------------
  static Tensor to_map(const Job& job, const Tensor& latents) {
    return unpack_latents(latents, job.height / kPixelsPerToken, job.width / kPixelsPerToken);
  }

  Tensor decode_one(const Job& job, const Tensor& latents, bool traced) {
    const Tensor map = ops_.upload(to_map(job, latents));
    const auto decode = [&] { return parts_.vae_decoder().decode(ops_, map, job.tiling); };
    return ops_.download(traced ? decode() : untraced(ops_, decode));
  }

  void decode() {
    begin("decode");
    for (Member& m : members_) {
      const int total = static_cast<int>(m.result.latents.size());
      for (int i = 0; i < total && m.live(); ++i) {
        m.report("decode", i, total);
        m.result.pictures.push_back(decode_one(m.job, m.result.latents[i], true));
        leave();
      }
      m.report("decode", total, total);
    }
    parts_.done(Part::vae_decoder);
  }

  Ops& ops_;
  Parts& parts_;
  const RunServices& services_;
  const PhaseFn& phase_;
  const int together_;
  std::vector<Member> members_;
  std::vector<PictureShape> pictures_;  // noise, references
  std::vector<StepModulation> steps_;
  std::unique_ptr<Denoiser> denoiser_;
};

}  // namespace

bool same_batch(const Job& a, const Job& b) {
  const auto same_shapes = [](const auto& x, const auto& y, const auto& shape) {
    return std::ranges::equal(x, y, [&](const auto& i, const auto& j) { return shape(i) == shape(j); });
  };
  return a.latents.empty() && b.latents.empty() && a.width == b.width && a.height == b.height &&
         a.schedule.sigmas == b.schedule.sigmas && a.cfg_scale == b.cfg_scale &&
         a.negative.has_value() == b.negative.has_value() && a.tiling == b.tiling &&
         same_shapes(a.references, b.references, [](const Tensor& t) { return t.shape(); }) &&
         a.vision.size() == b.vision.size();
}

std::vector<JobResult> run_jobs(Ops& ops, Parts& parts, std::span<const BatchMember> members, int together,
                                const RunServices& services, const PhaseFn& phase) {
  return Run(ops, parts, members, together, services, phase)();
}

}  // namespace inkling
