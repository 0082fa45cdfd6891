// A server on a thread of its own and clients with plain blocking sockets, for the tests of HTTP.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace inkling::server::testing {

struct Answer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class RawClient {
 public:
  explicit RawClient(uint16_t port, const char* source = nullptr, int receive_buffer = 0) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (receive_buffer > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (source) {
      ::inet_pton(AF_INET, source, &address.sin_addr);
      if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error("bind");
    }
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    address.sin_port = htons(port);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("connect");
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  bool send(const std::string& text) {  // false: the server closed
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t count = ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<size_t>(count);
    }
    return true;
  }
  // False: closed, or nothing came within `milliseconds`.
  bool receive(int milliseconds = 5000) {
    pollfd poll{socket_, POLLIN, 0};
    if (::poll(&poll, 1, milliseconds) <= 0) return false;
    char buffer[65536];
    const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
    if (count <= 0) {
      closed_ = true;
      return false;
    }
    input_.append(buffer, static_cast<size_t>(count));
    return true;
  }
  std::string until(const std::string& mark, int milliseconds = 5000) {
    size_t at;
    while ((at = input_.find(mark)) == std::string::npos)
      if (!receive(milliseconds)) return {};
    return take(at + mark.size());
  }
  std::string bytes(size_t count) {
    while (input_.size() < count)
      if (!receive()) return {};
    return take(count);
  }
  Answer read_head() {
    Answer answer;
    const std::string head = until("\r\n\r\n");
    if (head.size() < 12) return answer;
    answer.status = std::atoi(head.c_str() + 9);
    for (size_t line = head.find("\r\n") + 2; line + 2 < head.size();) {
      const size_t end = head.find("\r\n", line), colon = head.find(": ", line);
      answer.headers[head.substr(line, colon - line)] = head.substr(colon + 2, end - colon - 2);
      line = end + 2;
    }
    return answer;
  }
  Answer read() {
    Answer answer = read_head();
    if (const auto length = answer.headers.find("content-length"); length != answer.headers.end())
      answer.body = bytes(std::stoul(length->second));
    return answer;
  }
  Answer ask(const std::string& text) {
    send(text);
    return read();
  }
  bool closed_within(int milliseconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    while (!closed_ && std::chrono::steady_clock::now() < end) receive(50);
    return closed_;
  }

 private:
  std::string take(size_t count) {
    std::string text = input_.substr(0, count);
    input_.erase(0, count);
    return text;
  }
  int socket_ = -1;
  bool closed_ = false;
  std::string input_;
};

}  // namespace inkling::server::testing
