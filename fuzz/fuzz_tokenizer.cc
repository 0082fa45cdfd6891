// Two targets in one, told apart by the first byte. 'J': the rest is a tokenizer.json, which must load or be
// refused with a ModelError. Anything else: the whole input is text for a tiny tokenizer; valid UTF-8 must
// survive encoding and decoding up to its normal form, the rest must be refused with an ArgumentError.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "text/templates.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace {

using namespace inkling;

void require(bool condition) {
  if (!condition) std::abort();
}

class ScratchDir {
 public:
  ScratchDir() {
    std::string name = (std::filesystem::temp_directory_path() / "inkling-fuzz-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~ScratchDir() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }
  void write(const char* name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

// All bytes, a few merges, the special tokens of the templates.
const Tokenizer& tiny_tokenizer() {
  static const Tokenizer tokenizer = [] {
    nlohmann::json vocab;
    int id = 0, next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const int c = itself ? b : next++;
      std::string spelled;
      if (c < 0x80) {
        spelled = static_cast<char>(c);
      } else {
        spelled = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
      }
      vocab[spelled] = id++;
    }
    const std::pair<const char*, const char*> merges[] = {{"a", "a"}, {"aa", "a"}, {"aa", "aa"}, {"Ġ", "Ġ"},
                                                          {"Ġ", "a"}, {"Ċ", "Ċ"},  {"t", "h"},   {"th", "e"},
                                                          {"'", "s"}, {"å", "°"},  {"<", "|"},   {"Ì", "ģ"}};
    std::string lines = "#version: 0.2\n";
    for (const auto& [left, right] : merges) {
      vocab[std::string(left) + right] = id++;
      lines += std::string(left) + " " + right + "\n";
    }
    nlohmann::json added;
    for (const char* token : {"<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"}) {
      added[token] = id++;
    }
    const ScratchDir dir;
    dir.write("vocab.json", vocab.dump());
    dir.write("merges.txt", lines);
    dir.write("added_tokens.json", added.dump());
    return Tokenizer::load(dir.path());
  }();
  return tokenizer;
}

void check_file(std::string_view json) {
  static const ScratchDir dir;
  dir.write("tokenizer.json", std::string(json));
  try {
    read_vocabulary(dir.path());
    const Tokenizer tokenizer = Tokenizer::load(dir.path());
    tokenizer.decode(tokenizer.encode("the text's <|im_end|>"));
  } catch (const ModelError&) {
  }
}

void check_text(std::string_view text) {
  const Tokenizer& tokenizer = tiny_tokenizer();
  try {
    const std::vector<int32_t> plain = tokenizer.encode_plain(text);
    const std::string normal = to_nfc(text);
    require(tokenizer.decode(plain) == normal);
    require(to_nfc(normal) == normal);
    require(tokenizer.encode_plain(normal) == plain);
    const int32_t pad = tokenizer.token_id("<|image_pad|>");
    require(std::count(plain.begin(), plain.end(), pad) == 0);
    tokenizer.decode(tokenizer.encode(text));

    bool truncated = false;
    const EncodedPrompt prompt = encode_generate_prompt(tokenizer, text, {64}, &truncated);
    require(static_cast<int64_t>(prompt.ids.size()) <= prompt.drop + 64);
    const int64_t tokens[] = {3};
    const EncodedPrompt edit = encode_edit_prompt(tokenizer, text, tokens);
    require(std::count(edit.ids.begin(), edit.ids.end(), pad) == 3);
  } catch (const ArgumentError&) {
    require(replace_invalid_utf8(text) != text);
  }
  std::vector<int32_t> ids;  // the input as ids
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    ids.push_back((static_cast<uint8_t>(text[i]) << 8 | static_cast<uint8_t>(text[i + 1])) % tokenizer.vocab_size());
  }
  require_utf8(tokenizer.decode(ids));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with('J')) {
    check_file(input.substr(1));
  } else {
    check_text(input);
  }
  return 0;
}
