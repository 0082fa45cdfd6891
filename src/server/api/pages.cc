#include "server/api/pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/embedded.h"
#include "server/cache/sha256.h"

namespace inkling::server {

namespace {

namespace fs = std::filesystem;

std::string_view type_of(std::string_view path) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {{".html", "text/html; charset=utf-8"},
                                                                      {".js", "text/javascript; charset=utf-8"},
                                                                      {".css", "text/css; charset=utf-8"},
                                                                      {".svg", "image/svg+xml"},
                                                                      {".png", "image/png"},
                                                                      {".webp", "image/webp"},
                                                                      {".json", "application/json"},
                                                                      {".webmanifest", "application/manifest+json"}};
  for (const auto& [ending, type] : kTypes)
    if (path.ends_with(ending)) return type;
  return "application/octet-stream";
}

class Pages {
 public:
  explicit Pages(std::string web_root) : root_(std::move(web_root)) {
    for (const EmbeddedFile& file : embedded_web()) {
      Page& page = pages_[std::string(file.path)];
      page.bytes = std::make_shared<const std::string>(file.bytes);
      page.tag = fmt::format("\"{}\"", sha256_hex(file.bytes).substr(0, 16));
    }
  }

  void send(const Call& call, const std::string& path) const {
    HttpResponse r;
    r.content_type = type_of(path);
    r.headers.emplace_back("Cache-Control", "no-cache");  // asked about each time, sent again only when changed
    if (!root_.empty()) {
      r.body = read_file(path);
    } else if (const auto found = pages_.find(path); found != pages_.end()) {
      r.headers.emplace_back("ETag", found->second.tag);
      if (call.request.header("if-none-match") == found->second.tag)
        r.status = 304;
      else
        r.body = found->second.bytes;
    }
    if (r.body == nullptr && r.status == 200) return call.answer(not_found("page"));
    call.responder->send(std::move(r));
  }

 private:
  // Of --web-root; only files that lie in it.
  Blob read_file(const std::string& path) const {
    std::error_code error;
    const fs::path root = fs::canonical(root_, error), file = fs::canonical(root / path, error);
    if (error || !fs::is_regular_file(file)) return nullptr;
    if (const auto [end, rest] = std::ranges::mismatch(root, file); end != root.end()) return nullptr;
    std::ifstream in(file, std::ios::binary);
    return std::make_shared<const std::string>(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }

  struct Page {
    Blob bytes;
    std::string tag;
  };
  const std::string root_;
  std::map<std::string, Page> pages_;
};

}  // namespace

void add_page_routes(Router& router, Service& service, const std::string& web_root) {
  const auto pages = std::make_shared<Pages>(web_root);
  const auto add = [&](const char* pattern, std::string summary, std::function<void(Call)> call, bool open = false) {
    Route route;
    route.method = "GET";
    route.pattern = pattern;
    route.summary = std::move(summary);
    route.call = std::move(call);
    route.open = open;
    router.add(std::move(route));
  };
  const auto page = [&](const char* pattern, const char* file) {
    add(pattern, "", [pages, file](const Call& call) { pages->send(call, file); });
  };
  page("/", "index.html");
  page("/editor", "editor.html");
  page("/status", "status.html");
  page("/favicon.ico", "favicon.svg");
  page("/favicon.svg", "favicon.svg");
  add("/assets/{*file}", "", [pages](const Call& call) { pages->send(call, "assets/" + call.path.at("file")); });
  add(
      "/healthz", "200 while the server lives",
      [](const Call& call) {
        call.answer(200, {{"status", "ok"}});
      },
      true);
  add("/readyz", "200 when a worker has drawn its warm-up picture", [&service](const Call& call) {
    if (service.ready()) return call.answer(200, {{"status", "ready"}});
    call.answer(too_busy("no worker is ready", 5, 503));
  });
  add("/metrics", "Prometheus text", [&service](const Call& call) {
    call.responder->send(text_response(200, service.metrics(), "text/plain; version=0.0.4; charset=utf-8"));
  });
}

}  // namespace inkling::server
