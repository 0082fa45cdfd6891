#include "tensor/arena.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>

#include "base/error.h"

namespace inkling {

// One end of the arena: blocks in use by their distance from that end.
struct End {
  std::map<int64_t, int64_t> used;  // begin -> end

  int64_t extent() const { return used.empty() ? 0 : used.rbegin()->second; }
  // The lowest gap of at least `bytes`.
  int64_t first_fit(int64_t bytes) const {
    int64_t begin = 0;
    for (const auto& [b, e] : used) {
      if (b - begin >= bytes) return begin;
      begin = e;
    }
    return begin;
  }
};

struct Arena::State {
  std::mutex mutex;
  std::shared_ptr<Storage> slab;
  Back back;
  End ends[2];  // 0: bottom, 1: top
  MemoryStats stats;
  int64_t extent() const { return ends[0].extent() + ends[1].extent(); }
};

class Arena::Block : public Storage {
 public:
  Block(std::byte* data, int64_t bytes, std::shared_ptr<State> state, int end, int64_t begin, int64_t charged)
      : Storage(data, bytes), state_(std::move(state)), end_(end), begin_(begin), charged_(charged) {}
  ~Block() override {
    std::lock_guard lock(state_->mutex);
    state_->ends[end_].used.erase(begin_);
    state_->stats.current -= charged_;
  }

 private:
  std::shared_ptr<State> state_;
  int end_;
  int64_t begin_, charged_;
};

Arena::Arena(std::shared_ptr<Storage> slab, Back back) : state_(std::make_shared<State>()) {
  state_->slab = std::move(slab);
  state_->back = std::move(back);
}
Arena::Arena() : Arena(std::make_shared<Storage>(nullptr, int64_t{1} << 50)) {}
Arena::~Arena() = default;

std::shared_ptr<Storage> Arena::allocate(int64_t bytes) { return take(bytes, false); }
std::shared_ptr<Storage> Arena::allocate_lasting(int64_t bytes) { return take(bytes, true); }

std::shared_ptr<Storage> Arena::take(int64_t bytes, bool lasting) {
  if (bytes < 0) throw RuntimeError("allocate: negative size {}", bytes);
  const int64_t charged = (std::max<int64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  std::lock_guard lock(state_->mutex);
  State& s = *state_;
  const int64_t capacity = s.slab->bytes();
  End& end = s.ends[lasting];
  const int64_t begin = end.first_fit(charged);
  if (std::max(begin + charged, end.extent()) + s.ends[!lasting].extent() > capacity)
    throw MemoryError("out of memory: {} bytes asked for, {} of {} in use", bytes, s.stats.current, capacity);
  const int64_t offset = lasting ? capacity - begin - charged : begin;
  if (s.back) s.back(offset, offset + charged);
  end.used.emplace(begin, begin + charged);
  s.stats.current += charged;
  s.stats.peak = std::max(s.stats.peak, s.extent());
  ++s.stats.allocations;
  std::byte* base = s.slab->data();
  if (base != nullptr) base += offset;
  try {
    return std::make_shared<Block>(base, bytes, state_, lasting, begin, charged);
  } catch (...) {  // the host's memory for the block itself
    end.used.erase(begin);
    s.stats.current -= charged;
    throw;
  }
}

MemoryStats Arena::stats() const {
  std::lock_guard lock(state_->mutex);
  return state_->stats;
}

void Arena::reset_peak() {
  std::lock_guard lock(state_->mutex);
  state_->stats.peak = state_->extent();
}

int64_t Arena::capacity() const { return state_->slab->bytes(); }

}  // namespace inkling
