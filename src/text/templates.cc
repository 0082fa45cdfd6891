#include "text/templates.h"

#include "base/error.h"

namespace inkling {
namespace {

constexpr std::string_view kGenerateSystem =
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the "
    "objects and background:";
constexpr std::string_view kEditSystem =
    "Describe the key features of the input image (color, shape, size, texture, objects, background), then explain how "
    "the user's text instruction should alter or modify the image. Generate a new image that meets the user's "
    "requirements while maintaining consistency with the original input where appropriate.";

// A prompt is put together from runs of plain text, between which special tokens stand. Plain runs are
// tokenized as a whole, because pieces may cross from the template into the prompt: "user\n" and a prompt
// that begins with a newline share a token. Special-token strings inside a prompt stay plain text.
class PromptBuilder {
 public:
  explicit PromptBuilder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void text(std::string_view plain) { plain_ += plain; }
  void special(std::string_view token) {
    flush();
    const int32_t id = tokenizer_.token_id(token);
    if (id < 0) throw ModelError("tokenizer: special token {} is missing", token);
    ids_.push_back(id);
  }
  // Opens the user's turn. Returns how many tokens stand before a prompt that shares none with the template.
  int64_t open(std::string_view system) {
    special("<|im_start|>");
    text("system\n");
    text(system);
    special("<|im_end|>");
    text("\n");
    special("<|im_start|>");
    text("user\n");
    return static_cast<int64_t>(ids_.size() + tokenizer_.encode_plain(plain_).size());
  }
  // Returns the index of the first pad.
  int64_t picture(int64_t tokens) {
    special("<|vision_start|>");
    const auto start = static_cast<int64_t>(ids_.size());
    special("<|image_pad|>");
    ids_.insert(ids_.end(), static_cast<size_t>(tokens - 1), ids_.back());
    special("<|vision_end|>");
    return start;
  }
  std::vector<int32_t> close() {
    special("<|im_end|>");
    text("\n");
    special("<|im_start|>");
    text("assistant\n");
    flush();
    return std::move(ids_);
  }

 private:
  void flush() {
    const std::vector<int32_t> ids = tokenizer_.encode_plain(plain_);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    plain_.clear();
  }

  const Tokenizer& tokenizer_;
  std::string plain_;
  std::vector<int32_t> ids_;
};

}  // namespace

EncodedPrompt encode_generate_prompt(const Tokenizer& tokenizer, std::string_view prompt, const PromptOptions& options,
                                     bool* truncated) {
  if (options.max_prompt_tokens < 1 || options.max_prompt_tokens > kMaxPromptTokens) {
    throw ArgumentError("max_prompt_tokens is {}, expected 1 to {}", options.max_prompt_tokens, kMaxPromptTokens);
  }
  PromptBuilder builder(tokenizer);
  EncodedPrompt result;
  result.drop = builder.open(kGenerateSystem);
  builder.text(prompt);
  result.ids = builder.close();
  const auto limit = static_cast<size_t>(result.drop + options.max_prompt_tokens);
  const bool cut = result.ids.size() > limit;
  if (cut) result.ids.resize(limit);
  if (truncated) *truncated = cut;
  return result;
}

EncodedPrompt encode_edit_prompt(const Tokenizer& tokenizer, std::string_view prompt,
                                 std::span<const int64_t> image_tokens, bool numbered) {
  PromptBuilder builder(tokenizer);
  EncodedPrompt result;
  result.drop = builder.open(kEditSystem);
  for (size_t i = 0; i < image_tokens.size(); ++i) {
    if (image_tokens[i] < 1)
      throw ArgumentError("picture {} has {} tokens, expected at least 1", i + 1, image_tokens[i]);
    if (numbered) builder.text(fmt::format("Picture {}: ", i + 1));
    result.image_starts.push_back(builder.picture(image_tokens[i]));
  }
  builder.text(prompt);
  result.ids = builder.close();
  return result;
}

}  // namespace inkling
