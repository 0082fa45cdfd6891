#include "server/cache/result_cache.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "base/error.h"
#include "server/cache/sha256.h"

namespace inkling::server {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int kSchema = 1;  // PRAGMA user_version; another one: the index is begun anew
constexpr const char* kBlobs = "blobs";

// Raised inside only: turned into a miss or a failed put at the door.
struct StoreError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Statement {
 public:
  Statement(sqlite3* db, const char* sql) : db_(db) {
    if (sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr) != SQLITE_OK) throw StoreError(sqlite3_errmsg(db));
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int i, const std::string& text) {
    check(sqlite3_bind_text(statement_, i, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT));
    return *this;
  }
  Statement& bind(int i, int64_t value) {
    check(sqlite3_bind_int64(statement_, i, value));
    return *this;
  }
  Statement& bind(int i, double value) {
    check(sqlite3_bind_double(statement_, i, value));
    return *this;
  }
  bool step() {
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) throw StoreError(sqlite3_errmsg(db_));
    return code == SQLITE_ROW;
  }
  std::string text(int column) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return bytes ? std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column))) : "";
  }
  int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  double real(int column) const { return sqlite3_column_double(statement_, column); }

 private:
  void check(int code) {
    if (code != SQLITE_OK) throw StoreError(sqlite3_errmsg(db_));
  }
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
};

// Without fsync: after a power cut a blob may be short, which its checksum tells.
void write_file(const fs::path& path, const std::string& bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) throw StoreError("cannot create a blob");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(file, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  if (close(file) != 0 || done < bytes.size()) throw StoreError("cannot write a blob");
}

// A key may come from anywhere: the file is named by its hash.
std::string file_name(const std::string& key) { return sha256_hex(key) + ".bin"; }

}  // namespace

struct ResultCache::Impl {
  Impl(fs::path folder_, CacheLimits limits_) : folder(std::move(folder_)), limits(limits_) {
    std::error_code error;
    fs::create_directories(folder / kBlobs, error);
    fs::permissions(folder, fs::perms::owner_all, error);  // pictures of users: nobody else's business
    try {
      open_index();
    } catch (const StoreError&) {
      set_aside();
      try {
        open_index();
      } catch (const StoreError&) {
        close_index();
      }
    }
    if (db) sweep();
    if (!db) writable = false;
  }
  ~Impl() { close_index(); }

  void close_index() {
    sqlite3_close_v2(db);
    db = nullptr;
  }
  void run(const char* sql) {
    if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) throw StoreError(sqlite3_errmsg(db));
  }

  void open_index() {
    const fs::path file = folder / "index.sqlite";
    if (sqlite3_open_v2(file.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr) != SQLITE_OK)
      throw StoreError("cannot open the index");
    sqlite3_busy_timeout(db, 50);  // ms: a second process may look; nobody may make us wait
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA synchronous=NORMAL");
    int64_t version = 0;
    {
      Statement s(db, "PRAGMA user_version");
      if (s.step()) version = s.integer(0);
    }
    if (version == 0) {
      run("CREATE TABLE entries (key TEXT PRIMARY KEY, file TEXT NOT NULL, bytes INTEGER NOT NULL, sha TEXT NOT NULL,"
          " parts TEXT NOT NULL, metadata TEXT NOT NULL, created REAL NOT NULL, used INTEGER NOT NULL, uses INTEGER "
          "NOT NULL)"
          " WITHOUT ROWID;"
          "CREATE INDEX by_use ON entries (used);"
          "PRAGMA user_version=1");
    } else if (version != kSchema) {
      throw StoreError("the index is of another version");
    }
    Statement check(db, "PRAGMA quick_check(1)");
    if (!check.step() || check.text(0) != "ok") throw StoreError("the index is damaged");
    Statement sums(db, "SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(used), 0) FROM entries");
    sums.step();
    stats.entries = sums.integer(0);
    stats.bytes = sums.integer(1);
    clock = sums.integer(2);
  }

  void set_aside() {
    close_index();
    std::error_code error;
    for (const char* end : {"", "-wal", "-shm"}) {
      const fs::path file = folder / (std::string("index.sqlite") + end);
      fs::rename(file, file.string() + ".damaged", error);
    }
  }

  // Blobs that the index does not know: of a crash between the two, or of an index that was set aside.
  void sweep() {
    try {
      std::set<std::string> known;
      Statement s(db, "SELECT file FROM entries");
      while (s.step()) known.insert(s.text(0));
      std::error_code error;
      for (const auto& file : fs::directory_iterator(folder / kBlobs, error))
        if (!known.contains(file.path().filename().string())) {
          std::error_code ignored;
          fs::remove(file.path(), ignored);
        }
    } catch (const StoreError&) {
      close_index();
    } catch (const fs::filesystem_error&) {  // the folder cannot be listed: orphans stay
    }
  }

  void erase(const std::string& key, const std::string& file, int64_t bytes) {
    Statement(db, "DELETE FROM entries WHERE key = ?").bind(1, key).step();
    std::error_code error;
    fs::remove(folder / kBlobs / file, error);
    --stats.entries;
    stats.bytes -= bytes;
  }
  void erase(const std::string& key) {
    std::string file;
    int64_t bytes = 0;
    {
      Statement s(db, "SELECT file, bytes FROM entries WHERE key = ?");
      if (!s.bind(1, key).step()) return;
      file = s.text(0);
      bytes = s.integer(1);
    }
    erase(key, file, bytes);
  }

  std::optional<CachedResult> get(const std::string& key, double now) {
    std::string file, sha, parts, metadata;
    int64_t bytes = 0;
    double created = 0;
    {
      Statement s(db, "SELECT file, bytes, sha, parts, metadata, created FROM entries WHERE key = ?");
      if (!s.bind(1, key).step()) return std::nullopt;
      file = s.text(0);
      bytes = s.integer(1);
      sha = s.text(2);
      parts = s.text(3);
      metadata = s.text(4);
      created = s.real(5);
    }
    // A clock that was set back makes entries of the future: too old as well.
    if (now - created > limits.ttl_s || created - now > limits.ttl_s) {
      erase(key, file, bytes);
      ++stats.evicted;
      return std::nullopt;
    }
    CachedResult result;
    if (!read_blob(file, bytes, sha, parts, metadata, result)) {
      erase(key, file, bytes);
      ++stats.corrupt;
      return std::nullopt;
    }
    try {
      Statement(db, "UPDATE entries SET used = ?, uses = uses + 1 WHERE key = ?").bind(1, ++clock).bind(2, key).step();
    } catch (const StoreError&) {  // the picture is good; only its place in the order is lost
      writable = false;
    }
    return result;
  }

  bool read_blob(const std::string& file, int64_t bytes, const std::string& sha, const std::string& parts,
                 const std::string& metadata, CachedResult& result) const {
    std::ifstream in(folder / kBlobs / file, std::ios::binary);
    std::string all;
    if (!in || bytes < 0 || bytes > limits.max_bytes) return false;
    all.resize(static_cast<size_t>(bytes));
    in.read(all.data(), bytes);
    if (in.gcount() != bytes || in.peek() != std::ifstream::traits_type::eof()) return false;
    if (sha256_hex(all + parts + metadata) != sha) return false;
    const json sizes = json::parse(parts, nullptr, false);
    result.metadata = json::parse(metadata, nullptr, false);
    if (!sizes.is_array() || result.metadata.is_discarded()) return false;
    size_t at = 0;
    for (const json& size : sizes) {
      if (!size.is_number_unsigned() || size.get<size_t>() > all.size() - at) return false;
      result.blobs.push_back(all.substr(at, size.get<size_t>()));
      at += size.get<size_t>();
    }
    return at == all.size();
  }

  bool put(const std::string& key, const CachedResult& result, double now) {
    std::string all;
    json sizes = json::array();
    for (const std::string& blob : result.blobs) {
      all += blob;
      sizes.push_back(blob.size());
    }
    const auto bytes = static_cast<int64_t>(all.size());
    if (bytes > limits.max_bytes || limits.max_entries < 1) return false;
    const std::string parts = sizes.dump(),
                      metadata = result.metadata.dump(-1, ' ', false, json::error_handler_t::replace);
    const std::string file = file_name(key);
    erase(key);
    make_room(bytes, now);
    const fs::path temporary = folder / kBlobs / (file + ".tmp"), blob = folder / kBlobs / file;
    std::error_code error;
    try {
      write_file(temporary, all);
      fs::rename(temporary, blob, error);
      if (error) throw StoreError("cannot name a blob");
      Statement(db, "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)")
          .bind(1, key)
          .bind(2, file)
          .bind(3, bytes)
          .bind(4, sha256_hex(all + parts + metadata))
          .bind(5, parts)
          .bind(6, metadata)
          .bind(7, now)
          .bind(8, ++clock)
          .step();
    } catch (const StoreError&) {
      fs::remove(temporary, error);
      fs::remove(blob, error);
      throw;
    }
    ++stats.entries;
    stats.bytes += bytes;
    return true;
  }

  void make_room(int64_t bytes, double now) {
    const auto drop_first = [&](const char* sql, double bound) {
      std::string key, file;
      int64_t size = 0;
      {
        Statement s(db, sql);
        if (!s.bind(1, bound).step()) return false;
        key = s.text(0);
        file = s.text(1);
        size = s.integer(2);
      }
      erase(key, file, size);
      ++stats.evicted;
      return true;
    };
    // Few at a time: the request that waits must not pay for a whole day's rubbish. Old ones also end in get().
    constexpr int kOldAtOnce = 4;
    for (int i = 0; i < kOldAtOnce; ++i)
      if (!drop_first("SELECT key, file, bytes FROM entries WHERE created < ? LIMIT 1", now - limits.ttl_s)) break;
    while (stats.entries > 0 && (stats.bytes + bytes > limits.max_bytes || stats.entries + 1 > limits.max_entries))
      if (!drop_first("SELECT key, file, bytes FROM entries WHERE used > ? ORDER BY used LIMIT 1", 0)) break;
  }

  const fs::path folder;
  const CacheLimits limits;
  sqlite3* db = nullptr;
  bool writable = true;
  int64_t clock = 0;  // counts uses: the order of LRU, whatever the clock on the wall does
  mutable CacheStats stats;
};

ResultCache::ResultCache(const fs::path& folder, CacheLimits limits) : impl_(std::make_unique<Impl>(folder, limits)) {}
ResultCache::~ResultCache() = default;
ResultCache::ResultCache(ResultCache&&) noexcept = default;

std::optional<CachedResult> ResultCache::get(const std::string& key, double now_unix) {
  std::optional<CachedResult> found;
  if (impl_->db) {
    try {
      found = impl_->get(key, now_unix);
    } catch (const StoreError&) {
      impl_->writable = false;
    }
  }
  ++(found ? impl_->stats.hits : impl_->stats.misses);
  return found;
}

bool ResultCache::put(const std::string& key, const CachedResult& result, double now_unix) {
  bool kept = false;
  if (impl_->db) {
    try {
      kept = impl_->put(key, result, now_unix);
      impl_->writable = true;
    } catch (const StoreError&) {
      impl_->writable = false;
    }
  }
  if (!kept) ++impl_->stats.failed_puts;
  return kept;
}

void ResultCache::remove(const std::string& key) {
  if (!impl_->db) return;
  try {
    impl_->erase(key);
  } catch (const StoreError&) {
    impl_->writable = false;
  }
}

CacheStats ResultCache::stats() const { return impl_->stats; }
bool ResultCache::in_order() const { return impl_->db && impl_->writable; }

int64_t ResultCache::uses(const std::string& key) const {
  if (!impl_->db) return 0;
  try {
    Statement s(impl_->db, "SELECT uses FROM entries WHERE key = ?");
    return s.bind(1, key).step() ? s.integer(0) : 0;
  } catch (const StoreError&) {
    return 0;
  }
}

}  // namespace inkling::server
