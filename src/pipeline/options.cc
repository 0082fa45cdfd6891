#include "pipeline/options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace inkling {

namespace {

using Kind = Option::Kind;
constexpr double kNone = std::numeric_limits<double>::infinity();
constexpr double kMaxSeed = 9007199254740992.0;  // 2^53: survives a JSON number

constexpr auto kOptions = std::to_array<Option>({
    {"prompt", "p", Kind::text, kDraw, "", -kNone, kNone, "", false,
     "what to draw, or the edit instruction (Chinese or English)"},
    {"negative-prompt", "n", Kind::text, kDraw, "", -kNone, kNone, "", false,
     "what to avoid; used when --cfg-scale > 1"},
    {"output", "o", Kind::text, kDraw, "out.png", -kNone, kNone, "", false,
     "file to write (.png, .jpg, .webp); %d becomes the picture's index"},
    {"image", "i", Kind::text, kEdit, "", -kNone, kNone, "", true,
     "picture to edit; up to three, in the order the instruction counts them"},
    {"mask", "", Kind::text, kEdit, "", -kNone, kNone, "", false,
     "picture whose white area may change; everything else comes back untouched"},
    {"geometry", "", Kind::choice, kEdit, "keep", -kNone, kNone, "keep|reference", false,
     "keep: output has exactly the input's size; reference: sizes as the reference pipeline"},
    {"width", "W", Kind::integer, kDraw | kPlan | kBench, "", 16, 4096, "", false, "width in pixels (multiple of 16)"},
    {"height", "H", Kind::integer, kDraw | kPlan | kBench, "", 16, 4096, "", false,
     "height in pixels (multiple of 16)"},
    {"steps", "", Kind::integer, kDraw | kPlan | kBench, "", 1, 1000, "", false, "denoising steps"},
    {"cfg-scale", "", Kind::real, kDraw | kPlan | kBench, "", 0, 100, "", false, "guidance scale; 1 is off"},
    {"seed", "s", Kind::integer, kDraw, "0", -kMaxSeed, kMaxSeed, "", false,
     "seed; the same seed gives the same bytes"},
    {"rng", "", Kind::choice, kDraw, "cpu", -kNone, kNone, "cpu|cuda", false,
     "whose noise to draw: torch's CPU or CUDA generator"},
    {"style", "", Kind::choice, kDraw, "none", -kNone, kNone, "none|kids_cute_v2", false,
     "style words added to the prompt"},
    {"schedule", "", Kind::choice, kDraw, "auto", -kNone, kNone, "auto|base|lightning", false,
     "noise schedule: the model's, or the one of Lightning LoRAs"},
    {"batch", "b", Kind::integer, kDraw | kPlan | kBench, "1", 1, 64, "", false,
     "pictures to draw, with seeds seed, seed+1, ..."},
    {"model", "m", Kind::text, kDraw | kPlan | kBench | kServe | kPool, "", -kNone, kNone, "", false,
     "diffusers folder, single file or GGUF; for plan also a preset. Default: the model that ships"},
    {"dit", "", Kind::text, kDraw | kPlan, "", -kNone, kNone, "", false, "transformer file in place of the model's"},
    {"text-encoder", "", Kind::text, kDraw | kPlan, "", -kNone, kNone, "", false,
     "text encoder file in place of the model's"},
    {"mmproj", "", Kind::text, kDraw | kPlan, "", -kNone, kNone, "", false,
     "vision tower file (GGUF mmproj) in place of the model's"},
    {"vae", "", Kind::text, kDraw | kPlan, "", -kNone, kNone, "", false, "VAE file in place of the model's"},
    {"tokenizer", "", Kind::text, kDraw | kPlan, "", -kNone, kNone, "", false,
     "folder with the tokenizer in place of the model's"},
    {"lora", "", Kind::text, kDraw | kPlan, "", -kNone, kNone, "", true, "LoRA file, optionally PATH:scale"},
    {"device", "", Kind::text, kDraw | kPlan | kBench | kServe | kWorker | kPool, "auto", -kNone, kNone, "", false,
     "where to compute: auto (a GPU where the run fits, else the CPU), cpu, cuda, cuda:N or several: cuda:0,1"},
    {"max-vram", "", Kind::text, kDraw | kPlan | kBench | kServe | kWorker, "", -kNone, kNone, "", false,
     "GPU memory that the program may take in all, e.g. 6GiB; what does not fit is streamed from host memory"},
    {"precision", "", Kind::choice, kDraw | kPlan | kBench | kServe, "auto", -kNone, kNone,
     "auto|f32|bf16|fp8|w8a8|w4a8|stored", false,
     "arithmetic of large matrix products: f32 (CPU), bf16, fp8 (Hopper GPUs), w8a8 (int8), w4a8 (4-bit weights), "
     "stored (low-bit weights as in the file); auto: the most exact that fits"},
    {"vae-tiling", "", Kind::flag, kDraw | kPlan | kBench, "", -kNone, kNone, "", false,
     "decode and encode in overlapping tiles: less memory, slightly different pixels"},
    {"threads", "t", Kind::integer, kDraw | kServe | kWorker, "0", 0, 1024, "", false, "threads; 0 uses every core"},
    {"preview", "", Kind::text, kDraw, "", -kNone, kNone, "", false,
     "folder that receives a preview picture after each step"},
    {"json", "", Kind::flag, kDraw | kPlan | kInspect | kQuantize | kBench, "", -kNone, kNone, "", false,
     "print the result as JSON on standard output"},
    {"references", "", Kind::integer, kPlan | kBench, "0", 0, 3, "", false, "reference pictures to plan for (an edit)"},
    {"picture-size", "", Kind::text, kPlan | kBench, "", -kNone, kNone, "", false,
     "size of the reference pictures, e.g. 800x600; without -W and -H the edit keeps it. Default: the output's"},
    {"split", "", Kind::choice, kDraw | kPlan | kBench | kServe, "auto", -kNone, kNone, "auto|pictures|guidance|blocks",
     false,
     "how several devices share the work: pictures of their own, a pass of guidance each, blocks of the transformer"},
    {"prompt-tokens", "", Kind::integer, kPlan | kBench, "64", 1, 1024, "", false, "prompt length to plan for"},
    {"repeats", "", Kind::integer, kBench, "5", 1, 1000, "", false, "warm runs; medians are reported"},
    {"kernels", "", Kind::flag, kBench, "", -kNone, kNone, "", false,
     "time the kernels one by one, against what the device can do at most"},
    {"preset", "", Kind::choice, kSynth, "tiny", -kNone, kNone, "qwen-image|qwen-image-edit-2509|qwen-image-13b|tiny",
     false, "architecture to write"},
    {"dtype", "", Kind::choice, kSynth, "bf16", -kNone, kNone, "bf16|q8_0|q4_0", false, "element type of the matrices"},
    {"to", "", Kind::choice, kQuantize, "q8_0", -kNone, kNone, "q8_0|q6_k|q5_k|q4_k|q4_0|w8a8|w4a8|nf4|fp8|bf16|f16",
     false,
     "type of the large matrices: those with q are written as GGUF, the others as safetensors (w8a8 and w4a8 as "
     "ComfyUI, nf4 as bitsandbytes)"},
    {"calibrate", "", Kind::text, kQuantize, "", -kNone, kNone, "", false,
     "w4a8 or w8a8 of a whole model: file of prompts (lines, or JSON lines) to round its transformer by"},
    {"bits", "", Kind::real, kQuantize, "", 4.125, 8, "", false,
     "with --calibrate and w4a8: average bits a weight of the transformer's blocks; the most sensitive get 8"},
    {"listen", "", Kind::text, kServe, "127.0.0.1:7860", -kNone, kNone, "", false,
     "address and port; any address but loopback needs an API key"},
    {"api-key", "", Kind::text, kServe, "", -kNone, kNone, "", true,
     "key that clients must send (Authorization: Bearer KEY); may be given several times"},
    {"allow-host", "", Kind::text, kServe, "", -kNone, kNone, "", true,
     "further name under which clients may address the server (Host header)"},
    {"profile", "", Kind::choice, kServe, "open", -kNone, kNone, "kids|editor|open", false,
     "service profile of requests that name none"},
    {"config", "", Kind::text, kServe, "", -kNone, kNone, "", false,
     "JSON file of models, routing, degradation and limits; docs/serving-policy.md"},
    {"state", "", Kind::text, kServe | kPool, "", -kNone, kNone, "", false,
     "folder for caches; none keeps nothing. Default: $XDG_STATE_HOME/inkling or ~/.local/state/inkling"},
    {"safety", "", Kind::choice, kServe | kWorker, "on", -kNone, kNone, "on|off", false,
     "check wishes, uploads and results against what is unfit for children"},
    {"cpu-fallback", "", Kind::choice, kServe, "auto", -kNone, kNone, "auto|on|off", false,
     "let the CPU draw while no GPU can; auto: on with --device auto"},
    {"deadline", "", Kind::real, kServe, "", 1, 3600, "", false,
     "seconds within which a request must be served if it names no deadline of its own; default: the config's (120)"},
    {"max-batch", "", Kind::integer, kServe, "4", 1, 16, "", false, "requests of one shape drawn together at most"},
    {"rate-limit", "", Kind::integer, kServe, "", 0, 100000, "", false,
     "drawing requests a minute from one key or address; 0: no limit; default: the config's (30)"},
    {"drain", "", Kind::real, kServe, "60", 0, 3600, "", false,
     "seconds that running and waiting requests get after SIGTERM"},
    {"web-root", "", Kind::text, kServe, "", -kNone, kNone, "", false,
     "serve the pages from this folder in place of those built in"},
    {"log-file", "", Kind::text, kServe, "", -kNone, kNone, "", false, "JSON log lines go here, not to standard error"},
    {"log-prompts", "", Kind::flag, kServe, "", -kNone, kNone, "", false, "let log lines hold prompts"},
    {"port-file", "", Kind::text, kServe, "", -kNone, kNone, "", false, "write the port here (for scripts and port 0)"},
    {"worker-silence", "", Kind::real, kServe, "15", 3, 600, "", false,
     "seconds without a sign of life after which a worker is replaced"},
    {"synthetic-step-ms", "", Kind::real, kServe | kWorker, "0", 0, 60000, "", false,
     "load tests: no model; every step takes this long"},
    {"synthetic-faults", "", Kind::text, kServe | kWorker, "", -kNone, kNone, "", false,
     "load tests: file with CODE@N; the N-th device call of the next batch fails with this CUDA error code"},
    {"link", "", Kind::integer, kWorker | kDecode, "3", 0, 1024, "", false, "descriptor of the socket to the server"},
    {"url", "", Kind::text, kTop, "http://127.0.0.1:7860", -kNone, kNone, "", false, "server to look at"},
    {"key", "", Kind::text, kTop, "", -kNone, kNone, "", false, "API key, when the server asks for one"},
    {"once", "", Kind::flag, kTop, "", -kNone, kNone, "", false, "print one screen and end"},
});

std::string mapped(std::string_view name, char dash, bool upper) {
  std::string result;
  for (char c : name) result += c == '-' ? dash : upper ? static_cast<char>(std::toupper(c)) : c;
  return result;
}

std::optional<int64_t> to_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> to_real(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

bool is_choice(std::string_view choices, std::string_view value) {
  while (!choices.empty()) {
    const size_t bar = choices.find('|');
    if (choices.substr(0, bar) == value) return true;
    choices = bar == std::string_view::npos ? std::string_view() : choices.substr(bar + 1);
  }
  return false;
}

// For messages: a long or binary value is cut.
std::string shown(std::string_view value) {
  return value.size() <= 64 ? std::string(value) : std::string(value.substr(0, 60)) + "...";
}

void check(const Option& o, std::string_view value) {
  const auto wrong = [&](const std::string& expected) {
    throw ArgumentError("{}: got '{}', expected {}", o.json_name(), shown(value), expected);
  };
  if (o.kind == Kind::choice && !is_choice(o.choices, value)) wrong(fmt::format("one of {}", o.choices));
  if (o.kind == Kind::flag && value != "true" && value != "false") wrong("true or false");
  if (o.kind == Kind::integer || o.kind == Kind::real) {
    const std::optional<int64_t> whole = to_integer(value);
    const std::optional<double> number =
        o.kind == Kind::integer ? (whole ? std::optional<double>(*whole) : std::nullopt) : to_real(value);
    const char* noun = o.kind == Kind::integer ? "a whole number" : "a number";
    if (!number || *number < o.min || *number > o.max)
      wrong(fmt::format("{} from {:.16g} to {:.16g}", noun, o.min, o.max));
  }
}

}  // namespace

std::string Option::json_name() const { return mapped(name, '_', false); }
std::string Option::environment_name() const { return "INKLING_" + mapped(name, '_', true); }

std::span<const Option> option_table() { return kOptions; }

const Option& find_option(std::string_view name) {
  const auto it = std::ranges::find(kOptions, name, &Option::name);
  if (it == kOptions.end()) throw RuntimeError("no option named '{}'", name);
  return *it;
}

void OptionValues::set(std::string_view name, std::string_view value) {
  const Option& o = find_option(name);
  check(o, value);
  auto& slot = values_[std::string(name)];
  if (!o.repeats) slot.clear();
  slot.emplace_back(value);
}

bool OptionValues::given(std::string_view name) const { return values_.find(name) != values_.end(); }

std::string OptionValues::text(std::string_view name) const {
  const auto it = values_.find(name);
  return it != values_.end() ? it->second.back() : std::string(find_option(name).fallback);
}

std::vector<std::string> OptionValues::list(std::string_view name) const {
  const auto it = values_.find(name);
  return it != values_.end() ? it->second : std::vector<std::string>{};
}

std::optional<int64_t> OptionValues::integer(std::string_view name) const { return to_integer(text(name)); }
std::optional<double> OptionValues::real(std::string_view name) const { return to_real(text(name)); }
bool OptionValues::flag(std::string_view name) const { return text(name) == "true"; }

int64_t parse_bytes(std::string_view text) {
  size_t end = 0;
  while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) || text[end] == '.')) ++end;
  const std::optional<double> number = to_real(text.substr(0, end));
  std::string_view unit = text.substr(end);
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  static constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{{"", 1},
                                                                               {"B", 1},
                                                                               {"KiB", 0x1p10},
                                                                               {"MiB", 0x1p20},
                                                                               {"GiB", 0x1p30},
                                                                               {"TiB", 0x1p40},
                                                                               {"KB", 1e3},
                                                                               {"MB", 1e6},
                                                                               {"GB", 1e9},
                                                                               {"G", 0x1p30}}};
  const auto it = std::ranges::find(kUnits, unit, &std::pair<std::string_view, double>::first);
  if (!number || it == kUnits.end() || *number * it->second > 0x1p60)
    throw ArgumentError("'{}' is no size: write for example 6GiB, 512MiB or 8000000000", shown(text));
  return static_cast<int64_t>(*number * it->second);
}

}  // namespace inkling
