#include <gtest/gtest.h>

#include "base/error.h"
#include "server/http/http.h"

namespace inkling::server {
namespace {

const std::string kType = "multipart/form-data; boundary=XX";

std::string part(const std::string& headers, const std::string& data) {
  return "--XX\r\n" + headers + "\r\n\r\n" + data + "\r\n";
}

std::string named(const std::string& parameters, const std::string& data = "d") {
  return part("Content-Disposition: form-data; " + parameters, data);
}

TEST(Multipart, ReadsWhatClientsSend) {
  const std::string data("\x89PNG\r\n--X\r\n--XXY\r\n\0\xff", 20);
  const std::string body = named("name=\"prompt\"", "a cat") + named("name=\"empty\"", "") +
                           part(
                               "content-disposition: FORM-DATA; name=image; filename=\"a \\\"b\\\" \xff\\c.png\"\r\n"
                               "Content-Type: image/png\r\nContent-Transfer-Encoding: binary",
                               data) +
                           "--XX--\r\nepilogue";
  const auto parts = parse_multipart(kType, body);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].name, "prompt");
  EXPECT_EQ(parts[0].data, "a cat");
  EXPECT_EQ(parts[0].filename, "");
  EXPECT_EQ(parts[1].data, "");
  EXPECT_EQ(parts[2].name, "image");
  EXPECT_EQ(parts[2].filename, "a \"b\" \xff\\c.png");
  EXPECT_EQ(parts[2].content_type, "image/png");
  EXPECT_EQ(parts[2].data, data);
  EXPECT_EQ(parse_multipart("Multipart/Form-Data; charset=utf-8; boundary=\"a b\"",
                            "--a b \r\nContent-Disposition: form-data; name=n\r\n\r\nv\r\n--a b--")
                .at(0)
                .data,
            "v");
  EXPECT_TRUE(parse_multipart(kType, "--XX--").empty());
}

TEST(Multipart, RefusesTheRest) {
  const std::string good = named("name=a") + "--XX--";
  for (const char* type : {"", "text/plain; boundary=XX", "multipart/form-data", "multipart/form-data; boundary=",
                           "multipart/form-data; boundary=XX; boundary=XY", "multipart/form-data; boundary=\"XX",
                           "multipart/form-data; boundary=\"X\n\"", "multipart/form-data boundary=XX"})
    EXPECT_THROW(parse_multipart(type, good), ArgumentError) << type;
  EXPECT_THROW(parse_multipart("multipart/form-data; boundary=" + std::string(71, 'X'), good), ArgumentError);
  std::string headers = "Content-Disposition: form-data; name=a";
  for (int i = 0; i < 16; ++i) headers += "\r\nx: y";
  for (const std::string& body :
       {std::string(), std::string("--XY--"), "preamble\r\n" + good, named("name=a"), named("name=a") + "--XX",
        std::string("--XX\r\nContent-Disposition: form-data; name=a\n\nd\r\n--XX--"), named("filename=a") + "--XX--",
        named("name=a; name=b") + "--XX--", named("name=\"a") + "--XX--", named("name") + "--XX--",
        part("Content-Disposition: attachment; name=a", "d") + "--XX--",
        part("Content-Type: text/plain", "d") + "--XX--",
        part("Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b", "d") + "--XX--",
        part("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64", "ZA==") + "--XX--",
        part("Content-Disposition: form-data; name=a\r\n folded", "d") + "--XX--", part(headers, "d") + "--XX--",
        named("name=\"" + std::string(9000, 'a') + "\"") + "--XX--"})
    EXPECT_THROW(parse_multipart(kType, body), ArgumentError) << body.substr(0, 200);
}

TEST(Multipart, BoundsTheNumberOfParts) {
  std::string body;
  for (int i = 0; i < 65; ++i) body += named("name=a");
  EXPECT_THROW(parse_multipart(kType, body + "--XX--"), ArgumentError);
  EXPECT_EQ(parse_multipart(kType, body + "--XX--", 65).size(), 65u);
}

}  // namespace
}  // namespace inkling::server
