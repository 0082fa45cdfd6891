#include "text/byte_pairs.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <tuple>

#include "base/error.h"
#include "text/unicode.h"

namespace inkling {
namespace {

// The files spell bytes as printable characters (GPT-2): bytes 33-126, 161-172 and 174-255 are themselves,
// the other 68 are, in order, U+0100 and on.
constexpr std::array<int32_t, 256> make_spelling() {
  std::array<int32_t, 256> table{};
  int32_t next = 256;
  for (int32_t b = 0; b < 256; ++b) {
    const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    table[static_cast<size_t>(b)] = itself ? b : next++;
  }
  return table;
}
constexpr std::array<int32_t, 256> kSpelling = make_spelling();

constexpr std::array<int16_t, 324> make_byte_of() {  // -1: spells no byte
  std::array<int16_t, 324> table{};
  for (auto& entry : table) entry = -1;
  for (int16_t b = 0; b < 256; ++b) table[static_cast<size_t>(kSpelling[static_cast<size_t>(b)])] = b;
  return table;
}
constexpr std::array<int16_t, 324> kByteOf = make_byte_of();

std::string spell(int32_t c) {  // c < 0x800
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

struct Symbol {
  int32_t id;
  int32_t previous, next;  // -1 at the ends
};

// A pair that may be merged. Ties of rank go to the left.
struct Candidate {
  int32_t rank, position, id;
  bool operator<(const Candidate& other) const {  // the standard heap has its largest on top
    return std::tie(other.rank, other.position) < std::tie(rank, position);
  }
};

}  // namespace

BytePairs::BytePairs(std::vector<std::string> tokens, const std::vector<std::pair<std::string, std::string>>& merges)
    : tokens_(std::move(tokens)), merges_(std::bit_ceil(merges.size() * 2 + 1)) {
  ids_.reserve(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (!tokens_[id].empty()) ids_.emplace(tokens_[id], static_cast<int32_t>(id));
  }
  for (size_t b = 0; b < 256; ++b) {
    byte_ids_[b] = find(spell(kSpelling[b]));
    if (byte_ids_[b] < 0) throw ModelError("tokenizer: the vocabulary lacks a token for byte {}", b);
  }
  std::string merged;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    merged.assign(left).append(right);
    const int32_t l = find(left), r = find(right), m = find(merged);
    if (l < 0 || r < 0 || m < 0) {
      throw ModelError("tokenizer: merge {} ('{}' + '{}') names a token outside the vocabulary", rank, left, right);
    }
    merges_[slot(pair_of(l, r))] = {pair_of(l, r), static_cast<int32_t>(rank), m};
  }
}

int32_t BytePairs::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

size_t BytePairs::slot(uint64_t pair) const {
  const size_t mask = merges_.size() - 1;
  size_t i = static_cast<size_t>((pair ^ pair >> 29) * 0x9E3779B97F4A7C15u >> 20) & mask;
  while (merges_[i].pair != pair && merges_[i].pair != kEmpty) i = (i + 1) & mask;
  return i;
}

const BytePairs::Merge* BytePairs::merge_of(int32_t left, int32_t right) const {
  const Merge& found = merges_[slot(pair_of(left, right))];
  return found.pair == kEmpty ? nullptr : &found;
}

void BytePairs::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  const auto count = static_cast<int32_t>(piece.size());
  std::vector<Symbol> symbols(piece.size());
  std::vector<Candidate> initial;
  for (int32_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i);
    symbols[at] = {byte_ids_[static_cast<uint8_t>(piece[at])], i - 1, i + 1 < count ? i + 1 : -1};
    if (i == 0) continue;
    const Merge* merge = merge_of(symbols[at - 1].id, symbols[at].id);
    if (merge) initial.push_back({merge->rank, i - 1, merge->id});
  }
  std::priority_queue<Candidate> queue({}, std::move(initial));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.position)];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const Merge* merge = merge_of(left.id, right.id);
    if (!merge || merge->id != best.id) continue;  // one of the two has changed since
    left.id = best.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) {
      Symbol& next = symbols[static_cast<size_t>(left.next)];
      next.previous = best.position;
      if (const Merge* m = merge_of(left.id, next.id)) queue.push({m->rank, best.position, m->id});
    }
    if (left.previous >= 0) {
      const Symbol& previous = symbols[static_cast<size_t>(left.previous)];
      if (const Merge* m = merge_of(previous.id, left.id)) queue.push({m->rank, left.previous, m->id});
    }
  }
  for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    ids.push_back(symbols[static_cast<size_t>(i)].id);
  }
}

bool BytePairs::decode(int32_t id, std::string& bytes) const {
  if (id < 0 || id >= size() || token(id).empty()) return false;
  const std::string_view spelled = token(id);
  const size_t start = bytes.size();
  for (size_t i = 0; i < spelled.size();) {
    const int32_t c = next_code_point(spelled, i);
    const int16_t byte = c < static_cast<int32_t>(kByteOf.size()) ? kByteOf[static_cast<size_t>(c)] : int16_t{-1};
    if (byte < 0) {  // no spelling of bytes: taken literally
      bytes.resize(start);
      bytes += spelled;
      return true;
    }
    bytes += static_cast<char>(byte);
  }
  return true;
}

}  // namespace inkling
