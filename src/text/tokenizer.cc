#include "text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_pairs.h"
#include "text/pretokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace inkling {
namespace {

using AddedToken = std::pair<std::string, int32_t>;

// Longest first, so that the first match at a place is the longest.
std::vector<AddedToken> sorted_by_length(std::vector<AddedToken> added) {
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.first.size() != b.first.size() ? a.first.size() > b.first.size() : a.first < b.first;
  });
  added.erase(std::unique(added.begin(), added.end()), added.end());
  return added;
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(Vocabulary vocabulary)
      : added(sorted_by_length(std::move(vocabulary.added))), pairs(std::move(vocabulary.tokens), vocabulary.merges) {
    size = pairs.size();
    for (const auto& [content, id] : added) {
      starts[static_cast<uint8_t>(content[0])] = true;
      size = std::max(size, id + 1);
      if (id < pairs.size() && !pairs.token(id).empty() && pairs.token(id) != content) {
        throw ModelError("tokenizer: id {} is both '{}' and '{}'", id, pairs.token(id), content);
      }
    }
    added_by_id.resize(static_cast<size_t>(size), nullptr);
    for (const auto& entry : added) {
      const AddedToken*& place = added_by_id[static_cast<size_t>(entry.second)];
      if (place) throw ModelError("tokenizer: id {} is both '{}' and '{}'", entry.second, place->first, entry.first);
      place = &entry;
    }
  }

  const AddedToken* added_at(std::string_view text, size_t position) const {
    if (!starts[static_cast<uint8_t>(text[position])]) return nullptr;
    const std::string_view rest = text.substr(position);
    const auto match = std::find_if(added.begin(), added.end(),
                                    [&](const AddedToken& token) { return rest.starts_with(token.first); });
    return match == added.end() ? nullptr : &*match;
  }

  void encode_plain(std::string_view text, std::vector<int32_t>& ids) const {
    const std::string normal = to_nfc(text);
    for (size_t begin = 0; begin < normal.size();) {
      const size_t end = piece_end(normal, begin);
      pairs.encode(std::string_view(normal).substr(begin, end - begin), ids);
      begin = end;
    }
  }

  std::vector<AddedToken> added;
  BytePairs pairs;
  std::vector<const AddedToken*> added_by_id;
  std::array<bool, 256> starts{};  // bytes that an added token begins with
  int32_t size = 0;
};

Tokenizer Tokenizer::load(const std::filesystem::path& dir) {
  return Tokenizer(std::make_unique<Impl>(read_vocabulary(dir)));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

// Added tokens are cut out of the raw text; normalization sees the parts between them one by one.
std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  require_utf8(text);
  std::vector<int32_t> ids;
  size_t plain = 0;
  for (size_t i = 0; i < text.size();) {
    const AddedToken* token = impl_->added_at(text, i);
    if (!token) {
      ++i;
      continue;
    }
    impl_->encode_plain(text.substr(plain, i - plain), ids);
    ids.push_back(token->second);
    i += token->first.size();
    plain = i;
  }
  impl_->encode_plain(text.substr(plain), ids);
  return ids;
}

std::vector<int32_t> Tokenizer::encode_plain(std::string_view text) const {
  require_utf8(text);
  std::vector<int32_t> ids;
  impl_->encode_plain(text, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (id < 0 || id >= impl_->size) throw ArgumentError("tokenizer: no token has id {}", id);
    if (const AddedToken* token = impl_->added_by_id[static_cast<size_t>(id)]) {
      bytes += token->first;
    } else {
      impl_->pairs.decode(id, bytes);  // a gap in the vocabulary decodes to nothing
    }
  }
  return replace_invalid_utf8(bytes);
}

int32_t Tokenizer::token_id(std::string_view token) const {
  for (const auto& [content, id] : impl_->added) {
    if (content == token) return id;
  }
  return impl_->pairs.find(token);
}

int32_t Tokenizer::vocab_size() const { return impl_->size; }

}  // namespace inkling
