#include "safety/aho_corasick.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace inkling {

namespace {
size_t spread(uint64_t key) { return static_cast<size_t>((key * 0x9e3779b97f4a7c15u) >> 20); }
}  // namespace

uint32_t AhoCorasick::edge(uint32_t state, char32_t c) const {
  const uint64_t key = key_of(state, c);
  const size_t mask = edges_.size() - 1;
  for (size_t i = spread(key) & mask;; i = (i + 1) & mask) {
    if (edges_[i].key == key) return edges_[i].to;
    if (edges_[i].key == ~0ull) return kNone;
  }
}

void AhoCorasick::add_edge(uint32_t state, char32_t c, uint32_t to) {
  const uint64_t key = key_of(state, c);
  const size_t mask = edges_.size() - 1;
  size_t i = spread(key) & mask;
  while (edges_[i].key != ~0ull) i = (i + 1) & mask;
  edges_[i] = {key, to};
}

AhoCorasick::AhoCorasick(const std::vector<std::u32string_view>& patterns) : same_(patterns.size(), kNone) {
  const size_t characters =
      std::accumulate(patterns.begin(), patterns.end(), size_t{0}, [](size_t n, auto p) { return n + p.size(); });
  edges_.resize(std::bit_ceil(2 * characters + 2));
  nodes_.resize(1);
  std::vector<uint32_t> parents = {0};
  std::vector<char32_t> labels = {0};
  for (size_t p = 0; p < patterns.size(); ++p) {
    if (patterns[p].empty()) continue;
    uint32_t state = 0;
    for (const char32_t c : patterns[p]) {
      uint32_t to = edge(state, c);
      if (to == kNone) {
        to = static_cast<uint32_t>(nodes_.size());
        nodes_.emplace_back();
        parents.push_back(state);
        labels.push_back(c);
        add_edge(state, c, to);
      }
      state = to;
    }
    same_[p] = nodes_[state].first_match;
    nodes_[state].first_match = static_cast<uint32_t>(p);
  }
  link(parents, labels);
}

// Fail links by breadth: a node's link needs those of all shorter prefixes.
void AhoCorasick::link(const std::vector<uint32_t>& parents, const std::vector<char32_t>& characters) {
  std::vector<uint32_t> depth(nodes_.size(), 0), order(nodes_.size());
  for (size_t s = 1; s < nodes_.size(); ++s) depth[s] = depth[parents[s]] + 1;  // parents come first
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, {}, [&](uint32_t s) { return depth[s]; });
  for (const uint32_t s : order) {
    if (s == 0) continue;
    uint32_t fail = 0;
    if (parents[s] != 0) fail = next(nodes_[parents[s]].fail, characters[s]);
    nodes_[s].fail = fail;
    nodes_[s].report = nodes_[fail].first_match != kNone ? fail : nodes_[fail].report;
  }
}

uint32_t AhoCorasick::next(uint32_t state, char32_t c) const {
  for (;;) {
    const uint32_t to = edge(state, c);
    if (to != kNone) return to;
    if (state == 0) return 0;
    state = nodes_[state].fail;
  }
}

std::vector<AhoCorasick::Hit> AhoCorasick::find(std::u32string_view text) const {
  std::vector<Hit> hits;
  uint32_t state = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    state = next(state, text[i]);
    matches(state, [&](uint32_t p) { hits.push_back({p, static_cast<uint32_t>(i + 1)}); });
  }
  return hits;
}

}  // namespace inkling
