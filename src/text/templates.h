// Prompt templates of the Qwen-Image pipelines and what becomes of them as token ids.
#pragma once

#include <span>
#include <string_view>

#include "text/tokenizer.h"

namespace inkling {

struct EncodedPrompt {
  std::vector<int32_t> ids;    // whole sequence, image pads expanded
  int64_t drop = 0;            // leading hidden states that belong to the template (34 or 64 with the real vocabulary)
  std::vector<int64_t> image_starts;  // index of each picture's first image pad
};

// Text to image: at most `max_prompt_tokens` tokens follow the drop; longer prompts are cut (truncated is set).
struct PromptOptions {
  int64_t max_prompt_tokens = 512;
};
EncodedPrompt encode_generate_prompt(const Tokenizer& tokenizer, std::string_view prompt, const PromptOptions& options = {},
                                     bool* truncated = nullptr);
// Editing: image_tokens[i] merged vision tokens for picture i. numbered: "Picture i: " before each (2509, 2511);
// false for the August Edit model.
EncodedPrompt encode_edit_prompt(const Tokenizer& tokenizer, std::string_view prompt, std::span<const int64_t> image_tokens,
                                 bool numbered = true);

}  // namespace inkling
