#include "server/app.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <fstream>

#include "server/api/native.h"
#include "server/api/openai.h"
#include "server/api/pages.h"
#include "server/api/router.h"

namespace inkling::server {

namespace asio = boost::asio;

namespace {

class App {
 public:
  explicit App(const ServeOptions& options)
      : options_(options),
        access_(options.access),
        service_(io_, options.service),
        http_(
            io_, service_.http_limits(), [this](const HttpRequest& head) { return check(head); },
            [this](HttpRequest request, std::shared_ptr<Responder> responder) {
              handle(std::move(request), std::move(responder));
            },
            [this](const HttpRequest& request, HttpResponse& response) { wrap_up(request, response); }),
        signals_(io_, SIGTERM, SIGINT),
        grace_(io_) {
    add_native_routes(router_, service_);
    add_openai_routes(router_, service_);
    add_page_routes(router_, service_, options.web_root);
    const auto document = std::make_shared<const std::string>(openapi_document(router_, service_.limits()).dump());
    Route openapi;
    openapi.method = "GET";
    openapi.pattern = "/openapi.json";
    openapi.call = [document](const Call& call) {
      HttpResponse r;
      r.body = document;
      call.responder->send(r);
    };
    router_.add(openapi);
    service_.set_http_counters([this] {
      const HttpCounters c = http_.counters();
      return nlohmann::json{{"open", c.open},         {"accepted", c.accepted},
                            {"requests", c.requests}, {"refused", c.refused_heads},
                            {"timeouts", c.timeouts}, {"protocol_errors", c.protocol_errors}};
    });
  }

  int run() {
    const uint16_t port = http_.listen(options_.access.address, options_.port);
    if (!options_.port_file.empty()) std::ofstream(options_.port_file) << port << '\n';
    const bool v6 = options_.access.address.find(':') != std::string::npos;
    const std::string url =
        fmt::format("http://{}:{}", v6 ? "[" + options_.access.address + "]" : options_.access.address, port);
    fmt::print(
        "inkling serves at {}\n  pictures for children  {}/\n  photo editor           {}/editor\n  state               "
        "   "
        "{}/status\n  API                    {}/openapi.json\n",
        url, url, url, url, url);
    std::fflush(stdout);
    service_.start();
    wait_for_signal();
    io_.run();
    return 0;
  }

 private:
  // Before a body is read: who asks, what for, how much may come.
  HeadVerdict check(const HttpRequest& head) {
    const auto refuse = [](const ErrorAnswer& error) { return HeadVerdict{error.response(), 0}; };
    if (const auto error = access_.check_site(head)) return refuse(*error);
    const Router::Match match = router_.match(head.method, head.path);
    std::string owner;
    if (match.route == nullptr || !match.route->open)
      if (const auto error = access_.check_key(head, owner)) {
        HeadVerdict verdict = refuse(*error);
        verdict.refusal->headers.emplace_back("WWW-Authenticate", "Basic realm=\"inkling\", charset=\"UTF-8\"");
        return verdict;
      }
    if (match.route == nullptr) {
      if (match.allow.empty()) return refuse(not_found("route"));
      HeadVerdict verdict = refuse({.status = 405,
                                    .message = "this route answers " + match.allow,
                                    .type = "invalid_request_error",
                                    .code = "method_not_allowed"});
      verdict.refusal->headers.emplace_back("Allow", match.allow);
      return verdict;
    }
    const std::string_view type = head.header("content-type");
    const bool body = !head.header("content-length").empty() && head.header("content-length") != "0";
    const bool chunked = !head.header("transfer-encoding").empty();
    // A form of another site can send text and forms, never this type without asking first.
    if (head.method == "POST" && (body || chunked) && !match.route->any_type && !type.starts_with("application/json"))
      return refuse({.status = 415,
                     .message = "this route takes Content-Type: application/json",
                     .type = "invalid_request_error",
                     .code = "unsupported_media_type"});
    if (match.route->limited)
      if (const auto wait = service_.rate_limited(owner.empty() ? head.peer : owner))
        return refuse(too_busy("too many requests from one client", *wait));
    return {std::nullopt, match.route->body_limit};
  }

  void handle(HttpRequest request, std::shared_ptr<Responder> responder) {
    Router::Match match = router_.match(request.method, request.path);
    Call call{std::move(request), std::move(match.path), {}, std::move(responder)};
    if (access_.check_key(call.request, call.owner) && !match.route->open) return;  // was checked with the head
    match.route->call(std::move(call));
  }

  void wrap_up(const HttpRequest& request, HttpResponse& response) {
    add_security_headers(response);
    const Router::Match match = router_.match(request.method, request.path);
    // A request that was refused before its head was whole took no time of ours.
    const bool whole = request.received.time_since_epoch().count() != 0;
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - request.received;
    service_.count_request(match.route == nullptr ? "other" : match.route->pattern, response.status,
                           whole ? taken.count() : 0);
  }

  void wait_for_signal() {
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (error) return;
      if (draining_) std::_Exit(130);  // workers notice that the link closed
      draining_ = true;
      service_.log("drain", {{"seconds", options_.drain_seconds}});
      service_.drain(options_.drain_seconds, [this] {
        http_.stop_accepting();
        http_.close_idle();
        // Answers that are being written get a moment.
        grace_.expires_after(std::chrono::milliseconds(300));
        grace_.async_wait([this](boost::system::error_code) {
          http_.close_all();
          io_.stop();
        });
      });
      wait_for_signal();
    });
  }

  const ServeOptions options_;
  asio::io_context io_{1};
  Access access_;
  Router router_;
  Service service_;
  HttpServer http_;
  asio::signal_set signals_;
  asio::steady_timer grace_;
  bool draining_ = false;
};

}  // namespace

int serve(const ServeOptions& options) { return App(options).run(); }

}  // namespace inkling::server
