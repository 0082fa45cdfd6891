#include "pipeline/encode_prompts.h"

#include <map>
#include <optional>
#include <string>

#include "pipeline/embedding_cache.h"

namespace inkling {

namespace {

using Part = Parts::Part;

class PromptPhase {
 public:
  PromptPhase(Ops& ops, Parts& parts, const RunServices& services, std::vector<RunMember>& members,
              const RunControl& control)
      : ops_(ops), parts_(parts), services_(services), members_(members), control_(control) {}

  void operator()() {
    control_.leave();
    const std::vector<Pending> pending = look_up_prompts();
    std::map<RunMember*, std::vector<Tensor>> features;
    std::map<RunMember*, int> done;
    const auto step = [&](RunMember& m) {
      const int total = static_cast<int>(m.job.vision.size() + m.prompts.size());
      m.report("encode prompt", done[&m], total);
      ++done[&m];
    };
    if (!pending.empty() && !members_.front().job.vision.empty()) control_.begin("see pictures");
    for (const Pending& p : pending) {
      if (!features[p.member].empty() || !p.member->live()) continue;
      for (const VisionInput& v : p.member->job.vision) {
        std::vector<Tensor>& f = features[p.member];
        f.push_back(parts_.vision().forward(ops_, v, std::ssize(f)));
        step(*p.member);
        control_.leave();
      }
    }
    if (!members_.front().job.vision.empty()) parts_.done(Part::vision);
    control_.begin("encode prompt");
    std::map<std::string, Tensor> encoded;  // prompts that several members share; none without a key
    for (const Pending& p : pending) {
      if (!p.member->live()) continue;
      step(*p.member);
      if (const auto same = encoded.find(p.key); same != encoded.end()) {
        *p.result = same->second;
        continue;
      }
      const bool positive = p.prompt == &p.member->job.positive;
      *p.result = encode_prompt(parts_.text_encoder(), p.member->job, *p.prompt, features[p.member],
                                positive ? "prompt_embeds" : "negative_prompt_embeds");
      if (!p.key.empty()) {
        encoded[p.key] = *p.result;
        services_.embeddings->put(p.key, *p.result);
      }
      control_.leave();
    }
    encoded.clear();
    features.clear();
    for (RunMember& m : members_) {
      const int total = static_cast<int>(m.job.vision.size() + m.prompts.size());
      m.report("encode prompt", total, total);
    }
    parts_.done(Part::text_encoder);
    control_.leave();
  }

 private:
  // -> hidden states of the prompt itself, host [L, text_dim]
  Tensor encode_prompt(TextEncoder& encoder, const Job& job, const EncodedPrompt& prompt,
                       const std::vector<Tensor>& features, const char* trace_name) {
    const auto tokens = static_cast<int64_t>(prompt.ids.size());
    TextInputs in;
    in.ids = host_tensor(Shape{tokens}, std::span<const int32_t>(prompt.ids));
    in.prompts = Segments::single(tokens);
    std::vector<PictureInText> pictures;
    for (size_t i = 0; i < features.size(); ++i) {
      const VisionInput& v = job.vision[i];
      pictures.push_back({prompt.image_starts[i], v.height / 2, v.width / 2});
      in.pictures.push_back({prompt.image_starts[i], features[i]});
    }
    in.positions = mrope_positions(tokens, pictures);
    // The reference's traces hold the positive pass only.
    const bool traced = &prompt == &job.positive;
    const auto forward = [&] { return encoder.forward(ops_, in); };
    const Tensor hidden = (traced ? forward() : untraced(ops_, forward)).slice_rows(prompt.drop, tokens);
    ops_.trace(trace_name, hidden);
    return ops_.download(hidden);
  }

  // One prompt that no cache knows.
  struct Pending {
    RunMember* member;
    const EncodedPrompt* prompt;
    std::string key;
    Tensor* result;
  };

  std::vector<Pending> look_up_prompts() {
    std::vector<Pending> pending;
    // A trace wants to see the encoder at work.
    EmbeddingCache* cache = ops_.tracing() ? nullptr : services_.embeddings;
    for (RunMember& m : members_) {
      m.prompts.resize(m.job.negative ? 2 : 1);
      m.result.embedding_cached = cache != nullptr;
      for (size_t i = 0; i < m.prompts.size(); ++i) {
        const EncodedPrompt& prompt = i == 0 ? m.job.positive : *m.job.negative;
        std::string key;
        if (cache != nullptr) {
          key = embedding_key(services_.networks, prompt, m.job.vision);
          if (const auto known = cache->get(key)) {
            m.prompts[i] = *known;
            continue;
          }
        }
        m.result.embedding_cached = false;
        pending.push_back({&m, &prompt, std::move(key), &m.prompts[i]});
      }
    }
    return pending;
  }

  Ops& ops_;
  Parts& parts_;
  const RunServices& services_;
  std::vector<RunMember>& members_;
  const RunControl& control_;
};

}  // namespace

void encode_prompts(Ops& ops, Parts& parts, const RunServices& services, std::vector<RunMember>& members,
                    const RunControl& control) {
  PromptPhase(ops, parts, services, members, control)();
}

}  // namespace inkling
