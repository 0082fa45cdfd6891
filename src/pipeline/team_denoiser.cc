#include "pipeline/team_denoiser.h"

#include <exception>
#include <future>
#include <numeric>

#include "base/threads.h"

namespace inkling {

namespace {

void on_thread_of(const TeamStage& stage, const std::function<void()>& f) {
  if (stage.worker != nullptr)
    stage.worker->run(f);
  else
    f();
}

int64_t rows_of(const std::vector<Tensor>& parts) {
  return std::accumulate(parts.begin(), parts.end(), int64_t{0},
                         [](int64_t n, const Tensor& t) { return n + t.rows(); });
}

}  // namespace

std::vector<std::vector<TeamStage>> team_stages(const TeamLayout& layout,
                                                const std::function<TeamStage(size_t device)>& stage) {
  std::vector<std::vector<TeamStage>> passes(static_cast<size_t>(layout.passes));
  for (size_t i = 0; i < layout.devices(); ++i) passes[i / layout.stages.size()].push_back(stage(i));
  return passes;
}

TeamDenoiser::TeamDenoiser(Ops& main, std::vector<std::vector<TeamStage>> passes,
                           const std::vector<StepModulation>& steps, bool steps_on_device)
    : main_(main), steps_(steps), steps_on_device_(steps_on_device) {
  bool elsewhere = false;
  for (auto& pass : passes) {
    passes_.emplace_back();
    for (TeamStage& stage : pass) {
      elsewhere = elsewhere || (stage.ops != nullptr && stage.ops != &main_);
      passes_.back().push_back({std::move(stage), {}, {}});
    }
  }
  if (!elsewhere || !steps_on_device) return;
  for (const StepModulation& s : steps)
    host_steps_.push_back(s.transferred([this](const Tensor& t) { return main_.download(t); }));
}

TeamDenoiser::~TeamDenoiser() {
  try {
    on_all([](size_t, Stage& stage) {
      stage.contexts.clear();
      stage.steps.clear();
    });
  } catch (...) {  // giving back cannot fail; a worker that could not be asked has nothing
  }
}

void TeamDenoiser::on_all(const std::function<void(size_t pass, Stage&)>& f) {
  std::vector<std::future<void>> others;
  std::exception_ptr error;
  const auto guarded = [&](const auto& work) {
    try {
      work();
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  };
  for (size_t p = 0; p < passes_.size(); ++p)
    for (Stage& stage : passes_[p])
      if (stage.at.ops != nullptr && stage.at.worker != nullptr)
        others.push_back(stage.at.worker->begin([&f, &stage, p] { f(p, stage); }));
  for (size_t p = 0; p < passes_.size(); ++p)
    for (Stage& stage : passes_[p])
      if (stage.at.ops != nullptr && stage.at.worker == nullptr) guarded([&] { f(p, stage); });
  for (auto& o : others) guarded([&] { o.get(); });  // all of them, whatever failed: they refer to this object
  if (error) std::rethrow_exception(error);
}

void TeamDenoiser::start(const DenoiseInputs& inputs) {
  stop();
  guided_ = !inputs.negative.empty();
  cfg_scale_ = inputs.cfg_scale;
  text_rows_ = {rows_of(inputs.positive), rows_of(inputs.negative)};
  int64_t sample = 0;
  for (const PictureShape& p : inputs.pictures) sample += p.tokens();
  image_rows_ = sample * std::ssize(inputs.positive);
  on_all([&](size_t pass, Stage& stage) {
    Ops& ops = *stage.at.ops;
    Dit& dit = stage.at.dit();
    const auto add = [&](const std::vector<Tensor>& prompts) {
      stage.contexts.push_back(make_context(ops, dit, inputs, prompts));
    };
    if (pass == 0) add(inputs.positive);
    if (guided_ && pass + 1 == passes_.size()) add(inputs.negative);
    if (&ops == &main_ || !stage.steps.empty()) return;
    for (const StepModulation& s : host_steps_)
      stage.steps.push_back(
          s.transferred([&](const Tensor& t) { return ops.upload(t); }, dit.blocks().begin, dit.blocks().end));
  });
}

void TeamDenoiser::stop() {
  on_all([](size_t, Stage& stage) { stage.contexts.clear(); });
}

StepModulation TeamDenoiser::step_of(const Stage& stage, Dit& dit, int k) const {
  Ops& ops = *stage.at.ops;
  if (&ops == &main_ && steps_on_device_) return steps_[k];
  if (!stage.steps.empty()) return stage.steps[k];
  return steps_[k].transferred([&](const Tensor& t) { return ops.upload(t); }, dit.blocks().begin, dit.blocks().end);
}

TeamDenoiser::Velocity TeamDenoiser::run_pass(std::vector<Stage>& pass, size_t context, const Tensor& x,
                                              const Tensor& host_x, int step, bool traced) {
  Velocity v;
  DitState host;  // between stages
  const bool negative = context == 1 || &pass != &passes_[0];
  for (size_t s = 0; s < pass.size(); ++s) {
    Stage& stage = pass[s];
    const bool last = s + 1 == pass.size();
    if (stage.at.ops == nullptr) {
      const int64_t dim = steps_[0].norm_out.channels();
      if (last)
        v.host = host_tensor(x.shape());
      else
        host = {host_tensor(Shape{image_rows_, dim}), host_tensor(Shape{text_rows_[negative ? 1 : 0], dim})};
      continue;
    }
    const auto work = [&] {
      Ops& ops = *stage.at.ops;
      Dit& dit = stage.at.dit();
      const DitContext& c = stage.contexts[context];
      const StepModulation modulation = step_of(stage, dit, step);
      const bool on_main = &ops == &main_;
      DitState state;
      if (s == 0) {
        state = dit.enter(ops, c, on_main ? x : ops.upload(host_x));
      } else {
        state = {ops.upload(host.image), ops.upload(host.text)};
        host = {};
      }
      dit.run_blocks(ops, c, state, modulation);
      if (!last) {
        host = {ops.download(state.image), ops.download(state.text)};
        return 0;
      }
      const Tensor velocity = dit.leave(ops, c, std::move(state), modulation);
      if (on_main)
        v.main = velocity;
      else
        v.host = ops.download(velocity);
      return 0;
    };
    on_thread_of(stage.at, [&] { traced ? work() : untraced(*stage.at.ops, work); });
  }
  return v;
}

Tensor TeamDenoiser::velocity(const Tensor& x, int step, bool traced) {
  const bool side_by_side = guided_ && passes_.size() > 1;
  Tensor host_x;
  if (side_by_side) host_x = main_.download(x);
  std::future<Velocity> other;
  if (side_by_side)
    other = std::async(std::launch::async, [&, threads = thread_count()] {
      set_thread_count(threads);
      return run_pass(passes_[1], 0, x, host_x, step, false);
    });
  const auto on_main = [&](const Velocity& v) { return v.main.defined() ? v.main : main_.upload(v.host); };
  // Should this throw, the future's destructor waits for the other pass.
  const Tensor positive = on_main(run_pass(passes_[0], 0, x, host_x, step, traced));
  if (!guided_) return positive;
  const Tensor negative = on_main(side_by_side ? other.get() : run_pass(passes_[0], 1, x, host_x, step, false));
  return main_.guide(positive, negative, cfg_scale_);
}

}  // namespace inkling
