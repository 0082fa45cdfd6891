// Prompt templates of the Qwen-Image pipelines and what becomes of them as token ids.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace inkling {

inline constexpr int64_t kMaxPromptTokens = 1024;  // what the reference pipelines accept

struct EncodedPrompt {
  std::vector<int32_t> ids;  // whole sequence, image pads expanded
  // Leading hidden states that belong to the template: the tokens up to the user's text, counted with the
  // vocabulary at hand; 34 (generate) and 64 (edit) with the real one.
  int64_t drop = 0;
  std::vector<int64_t> image_starts;  // index of each picture's first image pad
};

// Special-token strings inside a prompt are plain text: a prompt can open no turn and fake no picture.
// An empty prompt is encoded as it is (only the template's suffix follows the drop); refusing it is up to
// the caller.
//
// Text to image: at most `max_prompt_tokens` (1 to kMaxPromptTokens) tokens, the 5 of the suffix included,
// follow the drop; longer prompts lose their end and the suffix, as in the reference (truncated is set).
struct PromptOptions {
  int64_t max_prompt_tokens = 512;
};
EncodedPrompt encode_generate_prompt(const Tokenizer& tokenizer, std::string_view prompt,
                                     const PromptOptions& options = {}, bool* truncated = nullptr);
// Editing: image_tokens[i] merged vision tokens for picture i. numbered: "Picture i: " before each (2509, 2511);
// false for the August Edit model. Never truncated.
EncodedPrompt encode_edit_prompt(const Tokenizer& tokenizer, std::string_view prompt,
                                 std::span<const int64_t> image_tokens, bool numbered = true);

}  // namespace inkling
