#include <algorithm>

#include "server/api/pages.h"

namespace inkling::server {

namespace {

using nlohmann::json;

json reference(const char* schema) { return {{"$ref", std::string("#/components/schemas/") + schema}}; }
json content(const json& schema, const char* type = "application/json") { return {{type, {{"schema", schema}}}}; }
json text() { return {{"type", "string"}}; }

json job_schema() {
  return {{"type", "object"},
          {"required", {"id", "object", "status", "created", "images", "degraded"}},
          {"properties",
           {{"id", {{"type", "string"}, {"pattern", "^job_[0-9a-f]{32}$"}}},
            {"object", {{"const", "job"}}},
            {"status", {{"enum", {"queued", "running", "succeeded", "failed", "cancelled"}}}},
            {"created", {{"type", "number"}}},
            {"prompt", text()},
            {"queue_position", {{"type", {"integer", "null"}}, {"description", "0: next"}}},
            {"eta_s", {{"type", {"number", "null"}}}},
            {"phase", text()},
            {"step", {{"type", "integer"}}},
            {"steps", {{"type", "integer"}}},
            {"degraded", {{"type", "boolean"}}},
            {"degradations", {{"type", "array"}, {"items", text()}}},
            {"model", text()},
            {"model_reason", text()},
            {"cache", {{"enum", {nullptr, "result", "latent", "template"}}}},
            {"images", {{"type", "array"}, {"items", {{"type", "object"}, {"required", {"url", "seed"}}}}}},
            {"error", {{"type", {"object", "null"}}}},
            {"notes", {{"type", "array"}, {"items", text()}}},
            {"session", {{"type", {"string", "null"}}}},
            {"node", {{"type", {"string", "null"}}}},
            {"timings", {{"type", "object"}}}}}};
}

json error_schema() {
  return {
      {"type", "object"},
      {"required", {"error"}},
      {"properties",
       {{"error",
         {{"type", "object"},
          {"required", {"message", "type", "param", "code"}},
          {"properties",
           {{"message", text()},
            {"type", text()},
            {"param", {{"type", {"string", "null"}}}},
            {"code", {{"type", {"string", "null"}}}},
            {"refusal",
             {{"type", "object"},
              {"properties", {{"category", text()}, {"suggestions", {{"type", "array"}, {"items", text()}}}}}}}}}}}}}};
}

json session_schema() {
  return {{"type", "object"},
          {"required", {"id", "nodes", "head", "limit"}},
          {"properties",
           {{"id", text()},
            {"head", text()},
            {"limit", {{"type", "integer"}}},
            {"nodes",
             {{"type", "array"},
              {"items", {{"type", "object"}, {"required", {"id", "parent", "depth", "instruction", "image_url"}}}}}}}}};
}

json images_schema() {
  return {{"type", "object"},
          {"required", {"created", "data"}},
          {"properties",
           {{"created", {{"type", "integer"}}},
            {"data",
             {{"type", "array"},
              {"items", {{"type", "object"}, {"properties", {{"b64_json", text()}, {"url", text()}}}}}}}}}};
}

json body_of(const std::string& pattern, const json& wish) {
  if (pattern == "/v1/jobs") return wish;
  if (pattern == "/v1/sessions")
    return {{"type", "object"},
            {"required", {"image"}},
            {"properties", {{"image", text()}}},
            {"additionalProperties", false}};
  if (pattern == "/v1/sessions/{id}/edits") {
    json edit = wish;
    edit["properties"].erase("images");
    edit["properties"]["parent"] = text();
    return edit;
  }
  if (pattern == "/v1/sessions/{id}/head")
    return {{"type", "object"}, {"required", {"node"}}, {"properties", {{"node", text()}}}};
  if (pattern.starts_with("/v1/images/"))
    return {{"type", "object"}, {"required", {"prompt"}}, {"properties", {{"prompt", text()}, {"size", text()}}}};
  return nullptr;
}

json success_of(const std::string& method, const std::string& pattern) {
  const auto answer = [](const char* status, const json& content_) {
    json a{{"description", "success"}};
    if (!content_.is_null()) a["content"] = content_;
    return json{{status, a}};
  };
  if (pattern == "/v1/jobs" && method == "POST") {
    json both = answer("200", content(reference("Job")));
    both.update(answer("202", content(reference("Job"))));
    return both;
  }
  if (pattern == "/v1/jobs/{id}" || pattern.ends_with("/cancel")) return answer("200", content(reference("Job")));
  if (pattern.ends_with("/edits") && pattern.starts_with("/v1/sessions"))
    return answer("202", content(reference("Job")));
  if (pattern == "/v1/sessions") return answer("201", content(reference("Session")));
  if (pattern.starts_with("/v1/sessions") && method == "DELETE") return answer("204", nullptr);
  if (pattern.find("/images/{") != std::string::npos)
    return answer("200", content({{"type", "string"}, {"format", "binary"}}, "image/*"));
  if (pattern.starts_with("/v1/sessions")) return answer("200", content(reference("Session")));
  if (pattern.starts_with("/v1/images/")) return answer("200", content(reference("Images")));
  if (pattern.ends_with("/events")) return answer("200", content(text(), "text/event-stream"));
  if (pattern == "/metrics") return answer("200", content(text(), "text/plain"));
  if (pattern == "/v1/ws") return json{{"101", {{"description", "switches to WebSocket"}}}};
  return answer("200", content({{"type", "object"}}));
}

}  // namespace

json openapi_document(const Router& router, const WishLimits& limits) {
  json paths;
  const json wish = wish_schema(limits);
  for (const Route& route : router.routes()) {
    if (route.summary.empty()) continue;
    std::string method = route.method;
    std::ranges::transform(method, method.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    json operation{{"summary", route.summary}, {"responses", success_of(route.method, route.pattern)}};
    operation["responses"]["default"] = {{"description", "an error"}, {"content", content(reference("Error"))}};
    for (size_t at = route.pattern.find('{'); at != std::string::npos; at = route.pattern.find('{', at + 1)) {
      const std::string name = route.pattern.substr(at + 1, route.pattern.find('}', at) - at - 1);
      operation["parameters"].push_back({{"name", name}, {"in", "path"}, {"required", true}, {"schema", text()}});
    }
    if (route.method == "POST") {
      if (const json body = body_of(route.pattern, wish); !body.is_null()) {
        operation["requestBody"] = {{"required", true}, {"content", content(body)}};
        if (route.any_type) operation["requestBody"]["content"]["multipart/form-data"] = {{"schema", body}};
      }
    }
    if (route.open) operation["security"] = json::array();
    paths[route.pattern][method] = operation;
  }
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "inkling"}, {"version", INKLING_VERSION}, {"license", {{"name", "Apache-2.0"}}}}},
          {"paths", paths},
          {"security", {{{"bearer", json::array()}}, json::object()}},
          {"components",
           {{"securitySchemes", {{"bearer", {{"type", "http"}, {"scheme", "bearer"}}}}},
            {"schemas",
             {{"Job", job_schema()},
              {"Error", error_schema()},
              {"Session", session_schema()},
              {"Images", images_schema()}}}}}};
}

}  // namespace inkling::server
