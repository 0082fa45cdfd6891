// Memory that runs out anywhere: the N-th allocation fails, once or from then on, while a model is loaded and while it
// draws. Each time an error comes back, nothing leaks (the sanitizer's build of this program), and the next picture is
// the one that is always drawn. A program of its own, as it replaces operator new. Where JSON
// is read only allocations of 1 KiB and more fail: the destructor of nlohmann::json 3.11 asks for memory itself.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "base/error.h"
#include "editing/instruction.h"
#include "pipeline/pipeline_support.h"
#include "safety/safety.h"

namespace {

std::atomic<int64_t> g_left = -1;  // allocations until one fails; negative: none does
std::atomic<int64_t> g_made = 0;
std::atomic<bool> g_persistent = false;
std::atomic<size_t> g_least = 0;  // smaller ones neither fail nor count

bool fails(size_t bytes) {
  if (bytes < g_least.load(std::memory_order_relaxed)) return false;
  g_made.fetch_add(1, std::memory_order_relaxed);
  if (g_left.load(std::memory_order_relaxed) < 0) return false;
  const int64_t left = g_left.fetch_sub(1);
  if (left > 0) return false;
  if (g_persistent) {
    g_left = 0;
    return true;
  }
  return left == 0;
}

void* take(size_t bytes, size_t alignment) {
  if (fails(bytes)) return nullptr;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes == 0 ? 1 : bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* take_or_throw(size_t bytes, size_t alignment) {
  if (void* p = take(bytes, alignment)) return p;
  throw std::bad_alloc();
}

}  // namespace

// GCC sees free() through an inlined delete, and not that new is ours too.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

void* operator new(size_t n) { return take_or_throw(n, 1); }
void* operator new[](size_t n) { return take_or_throw(n, 1); }
void* operator new(size_t n, std::align_val_t a) { return take_or_throw(n, static_cast<size_t>(a)); }
void* operator new[](size_t n, std::align_val_t a) { return take_or_throw(n, static_cast<size_t>(a)); }
void* operator new(size_t n, const std::nothrow_t&) noexcept { return take(n, 1); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return take(n, 1); }
void* operator new(size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return take(n, static_cast<size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { std::free(p); }

namespace inkling {
namespace {

using testing::generate_request;
using testing::small_model;

class Failure {
 public:
  Failure(int64_t at, bool persistent) {
    g_persistent = persistent;
    g_left = at;
  }
  ~Failure() { g_left = -1; }
};

template <typename F>
int64_t allocations_of(const F& f) {
  const int64_t before = g_made;
  f();
  return g_made - before;
}

// Calls f with every allocation failing in turn, or with `most` of them spread over the whole where there are more.
// True: f ended without an error.
template <typename F>
void fail_each(const F& f, int64_t most, const std::function<void(int64_t n, bool failed)>& afterwards = {}) {
  const int64_t all = allocations_of(f);
  ASSERT_GT(all, 0);
  int64_t errors = 0, runs = 0;
  for (int64_t i = 0; i < std::min(all, most); ++i) {
    const int64_t n = all <= most ? i : i * all / most;
    for (const bool persistent : {false, true}) {
      bool failed = false;
      try {
        const Failure failure(n, persistent);
        f();
      } catch (const std::bad_alloc&) {
        failed = true;
      } catch (const Error&) {
        failed = true;
      }
      errors += failed;
      ++runs;
      if (afterwards) afterwards(n, failed);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(errors, runs / 4) << "of " << all << " allocations";
}

int64_t runs_wanted() {
  const char* text = std::getenv("INKLING_ALLOCATION_FAILURES");
  return text != nullptr ? std::atoll(text) : 60;
}

TEST(Allocation, LoadingAndDrawing) {
  const auto load_and_draw = [] { Engine(small_model("small-t2i")).run(generate_request()); };
  g_least = 1024;
  fail_each(load_and_draw, runs_wanted());
  g_least = 0;
}

TEST(Allocation, ALoadedEngineDrawsTheSameAfterwards) {
  EngineOptions options = small_model("small-t2i");
  options.keep_loaded = true;
  options.embedding_cache_bytes = 1 << 20;
  Engine engine(options);
  const auto usual = engine.run(generate_request()).images.front().pixels;
  int64_t seed = 100;
  fail_each([&] { engine.run(generate_request("a cute panda", ++seed)); }, runs_wanted(),
            [&](int64_t n, bool) {
              ASSERT_EQ(engine.run(generate_request()).images.front().pixels, usual) << "after allocation " << n;
            });
}

TEST(Allocation, Edits) {
  EngineOptions options = small_model("small-edit");
  options.keep_loaded = true;
  Engine engine(options);
  const auto usual = engine.run(testing::edit_request()).images.front().pixels;
  fail_each([&] { engine.run(testing::edit_request()); }, runs_wanted(),
            [&](int64_t n, bool) {
              ASSERT_EQ(engine.run(testing::edit_request()).images.front().pixels, usual) << "after allocation " << n;
            });
}

TEST(Allocation, TheSafetyFilterBlocksWhatItCannotJudge) {
  const SafetyFilter filter;
  for (const char* wish : {"a yellow duck with a red hat", "n.a.k.e.d woman"}) {
    const bool usual = filter.check_text(wish).blocked;
    const int64_t all = allocations_of([&] { filter.check_text(wish); });
    for (int64_t n = 0; n < all; ++n) {
      SafetyVerdict verdict;
      {
        const Failure failure(n, true);
        verdict = filter.check_text(wish);
      }
      ASSERT_TRUE(verdict.blocked) << wish << ", allocation " << n << " of " << all;
      ASSERT_EQ(filter.check_text(wish).blocked, usual);
    }
  }
}

TEST(Allocation, Instructions) {
  const auto parse = [] { parse_instruction("把右上角的标签去掉，背景换成白色"); };
  parse();  // the lexicon stays
  fail_each(parse, 2000);
}

}  // namespace
}  // namespace inkling
