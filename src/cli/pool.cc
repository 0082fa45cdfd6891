// inkling pool: draws the most asked animals ahead and keeps their latents, so that a server answers such a wish with
// one decoding. Every picture is looked at by the safety filter before it is kept.

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/state_folder.h"
#include "pipeline/engine.h"
#include "pipeline/latent_file.h"
#include "safety/safety.h"
#include "server/cache/cache_key.h"
#include "server/cache/latent_pool.h"

namespace inkling::cli {

namespace {
constexpr int kVariants = 3;  // pictures of each animal, so that "again" shows another one
}

int run_pool(const CommandLine& line) {
  namespace fs = std::filesystem;
  const std::string state = state_folder(line.options);
  if (state.empty()) throw ArgumentError("state: the pool needs a folder; give one with --state FOLDER");
  const fs::path folder = fs::path(state) / "pool";
  fs::create_directories(folder);

  EngineOptions options = make_engine_options(line.options);
  options.keep_loaded = true;
  Engine engine(options);
  const SafetyFilter safety;
  std::vector<server::PoolEntry> entries;
  for (const server::PoolAnimal& animal : server::pool_animals()) {
    const Wish wish = complete_wish(animal.prompt);
    if (safety.check_text(wish.prompt).blocked) throw RuntimeError("pool: the filter refuses '{}'", wish.prompt);
    for (int variant = 0; variant < kVariants; ++variant) {
      Request request;
      request.prompt = wish.prompt;
      request.style = wish.style;
      request.seed = variant;
      request.keep_latents = true;
      Callbacks callbacks;
      callbacks.cancel = line.cancel;
      const Result result = engine.run(request, callbacks);
      if (safety.check_picture(result.images.front()).blocked) {
        fmt::print(stderr, "note: {} with seed {} looks unfit and is left out\n", animal.id, variant);
        continue;
      }
      server::PoolEntry entry;
      entry.path = folder / fmt::format("{}-{}.latent", animal.id, variant);
      for (const std::string& prompt : animal.prompts) entry.prompts.push_back(server::canonical_prompt(prompt));
      entry.prompt = wish.prompt;
      entry.style = wish.style;
      entry.seed = variant;
      entry.width = result.width;
      entry.height = result.height;
      entry.steps = result.steps;
      entry.fingerprint = engine.fingerprint();
      entry.safety_version = safety.version();
      write_latents(entry.path, result.latents, result.width, result.height,
                    {{"prompt", entry.prompt},
                     {"style", entry.style},
                     {"seed", std::to_string(variant)},
                     {"fingerprint", entry.fingerprint}});
      entries.push_back(std::move(entry));
    }
  }
  server::LatentPool::write_index(folder, entries);
  fmt::print("{} pictures of {} animals are in {}\n", entries.size(), server::pool_animals().size(), folder.string());
  return 0;
}

}  // namespace inkling::cli
