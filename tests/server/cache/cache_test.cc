// Caches on a real disk, with the states that a crash, a full disk or a curious hand can leave.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <set>

#include "server/cache/cache_key.h"
#include "server/cache/latent_pool.h"
#include "server/cache/result_cache.h"
#include "server/cache/sha256.h"
#include "server/cache/template_cache.h"

namespace inkling::server {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "inkling-cache-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

constexpr CacheLimits kLimits{.max_bytes = 10'000'000, .max_entries = 1000, .ttl_s = 3600};

CachedResult result(const std::string& text) { return {{text, text + " 2"}, {{"seed", 7}}}; }

std::vector<fs::path> blobs(const fs::path& folder) {
  std::vector<fs::path> all;
  for (const auto& f : fs::directory_iterator(folder / "blobs")) all.push_back(f.path());
  return all;
}

void write(const fs::path& file, const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(CacheKey, EveryParameterMatters) {
  const json base = {{"prompt", "a duck"},
                     {"negative_prompt", nullptr},
                     {"style", "none"},
                     {"width", 256},
                     {"height", 256},
                     {"steps", 8},
                     {"cfg_scale", 1.0},
                     {"seed", 1},
                     {"n", 1},
                     {"images", {"h1"}},
                     {"mask", "h2"},
                     {"geometry", "keep"},
                     {"model", "inkling"},
                     {"format", "png"},
                     {"quality", 92},
                     {"label", false},
                     {"fingerprint", "f"},
                     {"safety", "s"},
                     {"owner", "o"},
                     {"program", "0.1.0"}};
  const json changed = {{"prompt", "a duck "},
                        {"negative_prompt", ""},
                        {"style", "kids_cute_v2"},
                        {"width", 272},
                        {"height", 272},
                        {"steps", 9},
                        {"cfg_scale", 1.5},
                        {"seed", 2},
                        {"n", 2},
                        {"images", {"h2"}},
                        {"mask", "h1"},
                        {"geometry", "reference"},
                        {"model", "inkling-4bit"},
                        {"format", "jpeg"},
                        {"quality", 91},
                        {"label", true},
                        {"fingerprint", "g"},
                        {"safety", "t"},
                        {"owner", "p"},
                        {"program", "0.1.1"}};
  Folder folder;
  ResultCache cache(folder.path(), kLimits);
  ASSERT_TRUE(cache.put(cache_key(base), result("x"), 0));
  std::set<std::string> keys = {cache_key(base)};
  for (const auto& [field, value] : changed.items()) {
    json other = base;
    other[field] = value;
    EXPECT_TRUE(keys.insert(cache_key(other)).second) << field;
    EXPECT_FALSE(cache.get(cache_key(other), 1)) << field;
  }
  EXPECT_EQ(keys.size(), base.size() + 1);
  EXPECT_TRUE(cache.get(cache_key(base), 1));
  EXPECT_EQ(cache_key(json::parse(R"({"a":1,"b":2})")), cache_key(json::parse(R"({ "b": 2, "a": 1 })")));
  EXPECT_NE(cache_key({{"a", 1}}), cache_key({{"a", "1"}}));
}

TEST(CanonicalPrompt, WhatAPersonWouldCallTheSame) {
  EXPECT_EQ(canonical_prompt("  A  yellow\tDuck!! "), "a yellow duck");
  EXPECT_EQ(canonical_prompt("\u3000小鸭子\u3000。"), "小鸭子");
  EXPECT_EQ(canonical_prompt("..."), "");
  EXPECT_NE(canonical_prompt("a duck"), canonical_prompt("ducks"));
}

TEST(ResultCache, KeepsOverRestartsAndCounts) {
  Folder folder;
  {
    ResultCache cache(folder.path(), kLimits);
    EXPECT_FALSE(cache.get("k", 0));
    EXPECT_TRUE(cache.put("k", result("x"), 0));
    EXPECT_TRUE(cache.in_order());
  }
  ResultCache cache(folder.path(), kLimits);
  const auto found = cache.get("k", 1);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->blobs, result("x").blobs);
  EXPECT_EQ(found->metadata, result("x").metadata);
  EXPECT_EQ(cache.uses("k"), 1);
  EXPECT_EQ(cache.stats().entries, 1);
  EXPECT_EQ(cache.stats().bytes, 4);
  EXPECT_EQ(cache.stats().hits, 1U);
  EXPECT_TRUE(cache.put("k", result("yy"), 2));
  EXPECT_EQ(cache.get("k", 3)->blobs[0], "yy");
  EXPECT_EQ(cache.stats().entries, 1);
  cache.remove("k");
  EXPECT_FALSE(cache.get("k", 4));
  EXPECT_TRUE(blobs(folder.path()).empty());
}

TEST(ResultCache, EveryFlippedByteIsAMissAndGone) {
  Folder folder;
  ResultCache cache(folder.path(), kLimits);
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(cache.put("k", result("x"), 0));
    const fs::path file = blobs(folder.path()).at(0);
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekg(static_cast<std::streamoff>(i));
    const char c = static_cast<char>(f.get() ^ 1);
    f.seekp(static_cast<std::streamoff>(i));
    f.put(c);
    f.close();
    EXPECT_FALSE(cache.get("k", 1)) << i;
    EXPECT_TRUE(blobs(folder.path()).empty());
    EXPECT_EQ(cache.stats().entries, 0);
  }
  EXPECT_EQ(cache.stats().corrupt, 4U);
  for (const char* bytes : {"", "xx", "xx 2 and more"}) {  // cut short, or longer
    ASSERT_TRUE(cache.put("k", result("x"), 0));
    write(blobs(folder.path()).at(0), bytes);
    EXPECT_FALSE(cache.get("k", 1)) << bytes;
  }
  ASSERT_TRUE(cache.put("k", result("x"), 0));
  fs::remove(blobs(folder.path()).at(0));
  EXPECT_FALSE(cache.get("k", 1));
}

TEST(ResultCache, ChangedMetadataIsCorruptToo) {
  Folder folder;
  { ResultCache(folder.path(), kLimits).put("k", result("x"), 0); }
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((folder.path() / "index.sqlite").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, R"(UPDATE entries SET metadata = '{"seed":8}')", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  EXPECT_FALSE(ResultCache(folder.path(), kLimits).get("k", 1));
}

// The states that kill -9 leaves: a temporary file; a blob without a row; a row without a blob.
TEST(ResultCache, CrashBetweenBlobAndIndex) {
  Folder folder;
  {
    ResultCache cache(folder.path(), kLimits);
    cache.put("whole", result("w"), 0);
    cache.put("lost", result("l"), 0);
    fs::remove(folder.path() / "blobs" / (sha256_hex("lost") + ".bin"));
  }
  write(folder.path() / "blobs" / "half.bin.tmp", "half");
  write(folder.path() / "blobs" / (sha256_hex("orphan") + ".bin"), "orphan");
  ResultCache cache(folder.path(), kLimits);
  EXPECT_EQ(blobs(folder.path()).size(), 1U) << "rubbish is swept";
  EXPECT_FALSE(cache.get("orphan", 1));
  EXPECT_FALSE(cache.get("lost", 1));
  EXPECT_TRUE(cache.get("whole", 1));
  EXPECT_EQ(cache.stats().entries, 1);
}

TEST(ResultCache, LeastRecentlyUsedGoesFirst) {
  Folder folder;
  ResultCache cache(folder.path(), {.max_bytes = 1000, .max_entries = 3, .ttl_s = 3600});
  for (const char* k : {"a", "b", "c"}) cache.put(k, {{"x"}, {}}, 0);
  EXPECT_TRUE(cache.get("a", 1));
  cache.put("d", {{"x"}, {}}, 2);
  EXPECT_FALSE(cache.get("b", 3));
  EXPECT_TRUE(cache.get("a", 3));
  cache.put("big", {{std::string(999, 'x')}, {}}, 4);  // by bytes: only one other byte may stay
  EXPECT_EQ(cache.stats().entries, 2);
  EXPECT_TRUE(cache.get("a", 5));
  EXPECT_FALSE(cache.put("huge", {{std::string(1001, 'x')}, {}}, 6));
  EXPECT_EQ(blobs(folder.path()).size(), 2U);
  for (int i = 0; i < 200; ++i) cache.put(std::to_string(i), {{std::string(400, 'x')}, {}}, 7);
  EXPECT_LE(cache.stats().bytes, 1000);
  EXPECT_EQ(blobs(folder.path()).size(), static_cast<size_t>(cache.stats().entries));
}

TEST(ResultCache, TimeToLive) {
  Folder folder;
  ResultCache cache(folder.path(), kLimits);
  cache.put("k", result("x"), 1000);
  EXPECT_TRUE(cache.get("k", 4600));
  EXPECT_FALSE(cache.get("k", 4601));
  cache.put("k", result("x"), 100'000);
  EXPECT_FALSE(cache.get("k", 0)) << "an entry of the far future: the clock was set back";
  for (int i = 0; i < 8; ++i) cache.put(std::to_string(i), result("x"), 0);
  for (int i = 0; i < 2; ++i) cache.put("new" + std::to_string(i), result("x"), 5000);
  EXPECT_EQ(cache.stats().entries, 2) << "old ones go though nobody asks for them";
}

TEST(ResultCache, ADamagedOrForeignIndexIsMovedAside) {
  for (const char* kind : {"garbage", "version", "truncated"}) {
    Folder folder;
    const fs::path index = folder.path() / "index.sqlite";
    if (kind == std::string("garbage")) {
      write(index, std::string(8192, 'g'));
    } else {
      {
        ResultCache cache(folder.path(), kLimits);
        for (int i = 0; i < 200; ++i) cache.put(std::to_string(i), result("x"), 0);
      }
      if (kind == std::string("version")) {
        sqlite3* db = nullptr;
        sqlite3_open(index.c_str(), &db);
        sqlite3_exec(db, "PRAGMA user_version=99", nullptr, nullptr, nullptr);
        sqlite3_close(db);
      } else {
        fs::resize_file(index, 4096 * 2 + 100);
      }
    }
    ResultCache cache(folder.path(), kLimits);
    EXPECT_TRUE(cache.in_order()) << kind;
    EXPECT_TRUE(fs::exists(index.string() + ".damaged")) << kind;
    EXPECT_FALSE(cache.get("1", 1)) << kind;
    EXPECT_TRUE(cache.put("k", result("x"), 1)) << kind;
    EXPECT_TRUE(cache.get("k", 1)) << kind;
  }
}

TEST(ResultCache, AFolderThatCannotBe) {
  ResultCache cache("/proc/inkling-cache", kLimits);
  EXPECT_FALSE(cache.in_order());
  EXPECT_FALSE(cache.put("k", result("x"), 0));
  EXPECT_FALSE(cache.get("k", 0));
  EXPECT_EQ(cache.stats().failed_puts, 1U);
  cache.remove("k");
}

TEST(ResultCache, PutFailsSoftlyWhenBlobsCannotBeWritten) {
  Folder folder;
  ResultCache cache(folder.path(), kLimits);
  ASSERT_TRUE(cache.put("k", result("x"), 0));
  fs::rename(folder.path() / "blobs", folder.path() / "away");  // works for root too, unlike taking rights away
  EXPECT_FALSE(cache.put("other", result("x"), 0));
  EXPECT_FALSE(cache.in_order());
  EXPECT_FALSE(cache.get("other", 0));
  fs::rename(folder.path() / "away", folder.path() / "blobs");
  EXPECT_TRUE(cache.put("other", result("x"), 0));
  EXPECT_TRUE(cache.in_order());
}

TEST(ResultCache, HostileKeysStayInTheFolder) {
  Folder folder;
  ResultCache cache(folder.path(), kLimits);
  const std::string key = "../../etc/passwd'; DROP TABLE entries; --";
  EXPECT_TRUE(cache.put(key, result("x"), 0));
  EXPECT_TRUE(cache.get(key, 0));
  EXPECT_EQ(blobs(folder.path()).size(), 1U);
}

TEST(ResultCache, AGetOf100KilobytesTakesUnder5Milliseconds) {
  Folder folder;
  ResultCache cache(folder.path(), {.max_bytes = 100'000'000, .max_entries = 1000, .ttl_s = 3600});
  for (int i = 0; i < 200; ++i) cache.put(std::to_string(i), {{std::string(100'000, 'x')}, {}}, 0);
  std::vector<double> ms;
  for (int i = 0; i < 200; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ASSERT_TRUE(cache.get(std::to_string(i), 1));
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::ranges::sort(ms);
  std::cout << "get of 100 KB: median " << ms[100] << " ms, worst " << ms.back() << " ms\n";
  EXPECT_LT(ms[100], 5);
}

TEST(TemplateCache, SameMeaningSamePictureSameOwner) {
  Folder folder;
  TemplateCache cache(folder.path(), kLimits);
  const TemplateKey key{"remove:watermark", "hash", "alice", {{"steps", 8}}};
  EXPECT_TRUE(cache.put(key, result("x"), 0));
  EXPECT_TRUE(cache.get(key, 1));
  EXPECT_EQ(cache.uses(key), 1);
  for (int i = 0; i < 4; ++i) {
    TemplateKey other = key;
    if (i == 0) other.instruction = "remove:logo";
    if (i == 1) other.picture_hash = "other";
    if (i == 2) other.owner = "bob";
    if (i == 3) other.settings["steps"] = 9;
    EXPECT_FALSE(cache.get(other, 1)) << i;
  }
  const TemplateKey unclear{"", "hash", "alice", {}};
  EXPECT_FALSE(cache.put(unclear, result("x"), 0)) << "an instruction that was not understood is never shared";
  EXPECT_FALSE(cache.get(unclear, 0));
}

PoolEntry duck(const fs::path& folder, const std::string& file, int64_t seed) {
  write(folder / file, "latent");
  PoolEntry e;
  e.path = folder / file;
  e.prompts = {"a duck", "小鸭子"};
  e.prompt = "a duck";
  e.style = "kids_cute_v2";
  e.seed = seed;
  e.width = e.height = 256;
  e.steps = 8;
  e.fingerprint = "f";
  e.safety_version = "s";
  return e;
}

TEST(LatentPool, FindsWhatFitsModelAndFilter) {
  Folder folder;
  LatentPool::write_index(folder.path(), {duck(folder.path(), "1.latent", 1), duck(folder.path(), "2.latent", 2)});
  const LatentPool pool(folder.path());
  ASSERT_EQ(pool.size(), 2U);
  EXPECT_TRUE(pool.warnings().empty());
  EXPECT_EQ(pool.find("a duck", "f", "s")->seed, 1);
  EXPECT_EQ(pool.find("小鸭子", "f", "s", 3)->seed, 2);
  EXPECT_EQ(pool.find("a duck", "f", "s")->style, "kids_cute_v2");
  EXPECT_FALSE(pool.find("a duck", "another model", "s"));
  EXPECT_FALSE(pool.find("a duck", "f", "another filter"));
  EXPECT_FALSE(pool.find("a goose", "f", "s"));
  EXPECT_EQ(LatentPool("/nonexistent").size(), 0U);
}

TEST(LatentPool, ADamagedFileIsPassedOver) {
  Folder folder;
  LatentPool::write_index(folder.path(), {duck(folder.path(), "1.latent", 1), duck(folder.path(), "2.latent", 2)});
  const LatentPool pool(folder.path());
  write(folder.path() / "1.latent", "latenT");
  EXPECT_EQ(pool.find("a duck", "f", "s", 0)->seed, 2);
  EXPECT_EQ(pool.find("a duck", "f", "s", 1)->seed, 2);
  fs::remove(folder.path() / "2.latent");
  EXPECT_FALSE(pool.find("a duck", "f", "s"));
}

TEST(LatentPool, WrongEntriesAreLeftOut) {
  Folder folder;
  LatentPool::write_index(folder.path(), {duck(folder.path(), "1.latent", 1)});
  write(folder.path() / "empty.latent", "");
  fs::create_symlink("/etc/passwd", folder.path() / "link.latent");
  json index = json::parse(std::ifstream(folder.path() / "index.json"));
  const json good = index["entries"][0];
  const std::pair<const char*, json> wrong[] = {{"file", "../1.latent"},
                                                {"file", "/etc/passwd"},
                                                {"file", "none.latent"},
                                                {"file", "empty.latent"},
                                                {"file", "link.latent"},
                                                {"file", "index.json"},
                                                {"file", 7},
                                                {"prompts", json::array()},
                                                {"prompts", "a duck"},
                                                {"seed", "1"},
                                                {"width", 0},
                                                {"sha256", nullptr},
                                                {"fingerprint", nullptr}};
  for (const auto& [field, value] : wrong) {
    json bad = good;
    bad[field] = value;
    index["entries"].push_back(bad);
  }
  index["entries"].push_back(5);
  std::ofstream(folder.path() / "index.json") << index;
  const LatentPool pool(folder.path());
  EXPECT_EQ(pool.size(), 1U);
  EXPECT_EQ(pool.warnings().size(), std::size(wrong) + 1);
  for (const char* text : {"", "[]", "{", R"({"version":1,"entries":[]})", R"({"version":2})"}) {
    write(folder.path() / "index.json", text);
    const LatentPool broken(folder.path());
    EXPECT_EQ(broken.size(), 0U);
    EXPECT_EQ(broken.warnings().size(), 1U) << text;
  }
}

TEST(LatentPool, TwentyAnimalsInTwoLanguages) {
  const auto animals = pool_animals();
  ASSERT_EQ(animals.size(), 20U);
  std::set<std::string> ids, prompts;
  for (const PoolAnimal& a : animals) {
    ids.insert(a.id);
    for (const std::string& p : a.prompts) {
      EXPECT_EQ(canonical_prompt(p), p);
      EXPECT_TRUE(prompts.insert(p).second) << p << " stands for two animals";
    }
  }
  EXPECT_EQ(ids.size(), 20U);
  for (const char* p : {"a duck", "duckling", "小鸭子", "一只小鸭子", "an owl", "熊猫"})
    EXPECT_TRUE(prompts.contains(p)) << p;
}

}  // namespace
}  // namespace inkling::server
