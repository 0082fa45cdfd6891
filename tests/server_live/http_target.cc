// A server with the listener and nothing behind it, as a target for http_attacks.py: http_target PORT.
// GET /healthz and /large (32 MiB), POST /echo with at most 20 MiB.
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>

#include "server/http/http.h"

int main(int argc, char** argv) {
  using namespace inkling::server;
  boost::asio::io_context io(1);
  const auto large = std::make_shared<const std::string>(size_t{32} << 20, 'x');
  HttpServer server(
      io, {},
      [](const HttpRequest& head) {
        return HeadVerdict{std::nullopt, head.path == "/echo" ? uint64_t{20} << 20 : uint64_t{0}};
      },
      [&](const HttpRequest& request, const std::shared_ptr<Responder>& responder) {
        const bool post = request.path == "/echo";
        if (request.path != "/healthz" && request.path != "/large" && !post)
          responder->send(text_response(404, R"({"error":{"message":"","type":"","param":null,"code":"not_found"}})"));
        else if (request.method != (post ? "POST" : "GET") && (post || request.method != "HEAD"))
          responder->send(text_response(405, R"({"error":{"message":"","type":"","param":null,"code":"method"}})"));
        else if (request.path == "/large")
          responder->send({200, "application/octet-stream", {}, large});
        else
          responder->send(text_response(200, R"({"status":"ok"})"));
      });
  std::printf("port %d\n", server.listen("127.0.0.1", static_cast<uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0)));
  std::fflush(stdout);
  io.run();
}
