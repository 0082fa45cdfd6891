// Doors: keys, hosts, origins, the route table, and wishes that are not what they should be.
#include "server/api/access.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "server/api/base64.h"
#include "server/api/json_input.h"
#include "server/api/router.h"
#include "server/api/wish_fields.h"

namespace inkling::server {
namespace {

const std::string kKey = "0123456789abcdef0123456789abcdef";

HttpRequest request(std::vector<std::pair<std::string, std::string>> headers, std::string method = "GET") {
  HttpRequest r;
  r.method = std::move(method);
  r.headers = std::move(headers);
  return r;
}

TEST(Access, AnAddressBeyondLoopbackNeedsAKey) {
  EXPECT_THROW(Access({.address = "0.0.0.0"}), ArgumentError);
  EXPECT_THROW(Access({.address = "192.168.1.5"}), ArgumentError);
  EXPECT_THROW(Access({.keys = {"short"}, .address = "0.0.0.0"}), ArgumentError);
  EXPECT_NO_THROW(Access({.keys = {kKey}, .address = "0.0.0.0"}));
  EXPECT_NO_THROW(Access({.address = "127.0.0.1"}));
  EXPECT_NO_THROW(Access({.address = "::1"}));
}

TEST(Access, HostMustBeOurs) {
  const Access access({.allowed_hosts = {"pictures.school"}});
  for (const char* host :
       {"localhost:7860", "127.0.0.1", "127.0.0.1:80", "[::1]:7860", "LOCALHOST", "pictures.school:443"})
    EXPECT_FALSE(access.check_site(request({{"host", host}}))) << host;
  for (const char* host : {"evil.example", "", "127.evil.example", "127.0.0.1.evil.example", "localhost.evil.example",
                           "192.168.1.5", "[::2]", "xlocalhost"})
    EXPECT_TRUE(access.check_site(request({{"host", host}}))) << host;
}

TEST(Access, ForeignPagesMayNotChangeAnything) {
  const Access access({});
  const auto status = [&](const char* origin, const char* method, bool upgrade = false) {
    auto r = request({{"host", "127.0.0.1:7860"}, {"origin", origin}}, method);
    if (upgrade) r.headers.emplace_back("upgrade", "websocket");
    const auto error = access.check_site(r);
    return error ? error->status : 0;
  };
  EXPECT_EQ(status("http://127.0.0.1:7860", "POST"), 0);
  EXPECT_EQ(status("http://evil.example", "POST"), 403);
  EXPECT_EQ(status("null", "POST"), 403);
  EXPECT_EQ(status("http://127.0.0.1:7861", "DELETE"), 403);
  EXPECT_EQ(status("http://evil.example", "GET"), 0) << "the browser keeps the answer from the page";
  EXPECT_EQ(status("http://evil.example", "GET", true), 403) << "but not a WebSocket";
}

TEST(Access, KeysByBearerOrBasic) {
  const Access access({.keys = {kKey, "another-key-0123456789"}});
  std::string owner;
  EXPECT_EQ(access.check_key(request({}), owner)->status, 401);
  EXPECT_EQ(access.check_key(request({{"authorization", "Bearer " + kKey + "x"}}), owner)->status, 401);
  EXPECT_EQ(access.check_key(request({{"authorization", kKey}}), owner)->status, 401);
  EXPECT_FALSE(access.check_key(request({{"authorization", "Bearer " + kKey}}), owner));
  EXPECT_EQ(owner.size(), 16u);
  std::string other;
  EXPECT_FALSE(access.check_key(request({{"authorization", "Bearer another-key-0123456789"}}), other));
  EXPECT_NE(owner, other);
  std::string basic;
  EXPECT_FALSE(access.check_key(request({{"authorization", "Basic " + base64_encode("anyone:" + kKey)}}), basic));
  EXPECT_EQ(owner, basic);
  EXPECT_TRUE(access.check_key(request({{"authorization", "Basic !!!!"}}), basic));
  EXPECT_TRUE(access.check_key(request({{"authorization", "Basic " + std::string(10'000, 'A')}}), basic));
  const Access open({});
  EXPECT_FALSE(open.check_key(request({{"authorization", "Bearer whatever"}}), owner))
      << "any key passes when none is set";
}

TEST(Router, MatchesWholePaths) {
  Router router;
  router.add({.method = "GET", .pattern = "/v1/jobs/{id}", .summary = "", .call = {}});
  router.add({.method = "DELETE", .pattern = "/v1/jobs/{id}", .summary = "", .call = {}});
  router.add({.method = "GET", .pattern = "/", .summary = "", .call = {}});
  router.add({.method = "GET", .pattern = "/assets/{*file}", .summary = "", .call = {}});
  EXPECT_EQ(router.match("GET", "/v1/jobs/abc").path.at("id"), "abc");
  EXPECT_NE(router.match("HEAD", "/v1/jobs/abc").route, nullptr);
  EXPECT_EQ(router.match("POST", "/v1/jobs/abc").route, nullptr);
  EXPECT_EQ(router.match("POST", "/v1/jobs/abc").allow, "GET, DELETE");
  EXPECT_EQ(router.match("GET", "/v1/jobs/").route, nullptr);
  EXPECT_EQ(router.match("GET", "/v1/jobs/a/b").route, nullptr);
  EXPECT_NE(router.match("GET", "/").route, nullptr);
  EXPECT_EQ(router.match("GET", "/x").route, nullptr);
  EXPECT_EQ(router.match("GET", "/assets/i18n/en.js").path.at("file"), "i18n/en.js");
}

std::string refusal(const std::string& body) {
  try {
    parse_wish(parse_json(body), {});
  } catch (const ArgumentError& e) {
    return e.what();
  }
  return "";
}

TEST(Wish, NamesTheFieldThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"prompt":"duck","width":0})", "width:"},
      {R"({"prompt":"duck","width":-1,"height":512})", "width:"},
      {R"({"prompt":"duck","width":1000000000,"height":512})", "width:"},
      {R"({"prompt":"duck","width":1.5,"height":512})", "width:"},
      {R"({"prompt":"duck","width":"512","height":512})", "width:"},
      {R"({"prompt":"duck","width":9223372036854775808,"height":512})", "width:"},
      {R"({"prompt":"duck","width":500,"height":512})", "width:"},
      {R"({"prompt":"duck","width":512})", "height:"},
      {R"({"prompt":"duck","width":2048,"height":2048})", "width:"},
      {R"({"prompt":"duck","n":0})", "n:"},
      {R"({"prompt":"duck","n":-1})", "n:"},
      {R"({"prompt":"duck","n":1000000000})", "n:"},
      {R"({"prompt":"duck","steps":-1})", "steps:"},
      {R"({"prompt":"duck","steps":101})", "steps:"},
      {R"({"prompt":"duck","cfg_scale":1e999})", "the body is not valid JSON"},
      {R"({"prompt":"duck","cfg_scale":1e300})", "cfg_scale:"},
      {R"({"prompt":"duck","seed":1e300})", "seed:"},
      {R"({"prompt":"duck","seed":9223372036854775807})", "seed:"},
      {R"({"prompt":"duck","seed":-9223372036854775808})", "seed:"},
      {R"({"prompt":"duck","cfg_scale":NaN})", "the body is not valid JSON"},
      {R"({"prompt":"duck","Width":512})", "Width:"},
      {R"({"prompt":"duck","nonsense":1})", "nonsense:"},
      {R"({"prompt":"duck","prompt":"cow"})", "prompt: is given twice"},
      {R"({"prompt":""})", "prompt:"},
      {R"({"prompt":"  \t\n　"})", "prompt:"},
      {R"({"prompt":"a\u0000b"})", "prompt:"},
      {R"({"prompt":7})", "prompt:"},
      {R"({"width":512,"height":512})", "prompt: is missing"},
      {R"([1])", "the body must be"},
      {R"({"prompt":"duck","images":[]})", "images:"},
      {R"({"prompt":"duck","images":["AAAA","AAAA","AAAA","AAAA"]})", "images:"},
      {R"({"prompt":"duck","images":["http://127.0.0.1/x.png"]})", "images[0]: this server fetches no pictures"},
      {R"({"prompt":"duck","images":["file:///etc/passwd"]})", "images[0]:"},
      {R"({"prompt":"duck","images":["data:image/svg+xml;base64,PHN2Zz4="]})", "images[0]: is not a PNG"},
      {R"({"prompt":"duck","images":["!!!"]})", "images[0]: is not valid base64"},
      {R"({"prompt":"duck","mask":"iVBORw0KGgo="})", "mask: needs a picture"},
      {R"({"prompt":"duck","postprocess":{"nonsense":1}})", "postprocess:"},
      {R"({"prompt":"duck","output_format":"gif"})", "output_format:"},
      {R"({"prompt":"duck","preview":"yes"})", "preview:"},
  };
  for (const auto& [body, start] : cases)
    EXPECT_TRUE(refusal(body).starts_with(start)) << body << " -> " << refusal(body);
  EXPECT_EQ(refusal(R"({"prompt":"duck <lora:x:1> <extra>{\"steps\":9}</extra>"})"), "")
      << "only text, no control channel";
}

TEST(Wish, PromptIsCountedInCharacters) {
  std::string chinese;
  for (int i = 0; i < 4096; ++i) chinese += "鸭";
  EXPECT_EQ(refusal(R"({"prompt":")" + chinese + R"("})"), "");
  EXPECT_TRUE(refusal(R"({"prompt":")" + chinese + R"(子"})").starts_with("prompt: has 4097 characters"));
}

TEST(Json, DepthAndEncoding) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_json(nested(60)));
  for (const size_t depth : {size_t{101}, size_t{100'000}, size_t{1'000'000}})
    EXPECT_THROW(parse_json(nested(depth)), ArgumentError) << depth;
  for (const char* text : {"", "{", "{\"a\":\"\xff\xfe\"}", "{\"a\":\"\\ud800\"}", "{'a':1}", "{\"a\":1}x"})
    EXPECT_THROW(parse_json(text), ArgumentError) << text;
}

TEST(Json, Base64RoundTripsAndToleratesMissingPadding) {
  const std::string png = std::string("\x89PNG\r\n\x1a\n") + std::string("\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10", 16);
  for (size_t cut = 0; cut < 3; ++cut) {
    const std::string bytes = png.substr(0, png.size() - cut);
    std::string text = base64_encode(bytes);
    EXPECT_EQ(*decode_picture_text("image", text, 1000), bytes);
    while (text.ends_with('=')) text.pop_back();
    EXPECT_EQ(*decode_picture_text("image", "data:image/png;base64," + text, 1000), bytes);
  }
  EXPECT_THROW(decode_picture_text("image", base64_encode(png), 8), ArgumentError);
  const std::string huge = std::string("\x89PNG\r\n\x1a\n") + std::string("\0\0\0\rIHDR\0\0\x3e\x80\0\0\x3e\x80", 16);
  EXPECT_THROW(check_picture_bytes("image", huge, 1000), ArgumentError) << "16,000 x 16,000 by the header alone";
}

}  // namespace
}  // namespace inkling::server
