// Cuts text into the pieces inside which byte pairs are merged. Equals this pattern of the Qwen2 tokenizer,
// in time linear in the text:
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
#pragma once

#include <cstddef>
#include <string_view>

namespace inkling {

inline constexpr std::string_view kPretokenizerPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// End of the piece that starts at `begin` < text.size(). `text` must be valid UTF-8.
size_t piece_end(std::string_view text, size_t begin);

}  // namespace inkling
