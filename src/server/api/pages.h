// What the browser and the operator get: the pages, health, metrics, the OpenAPI document.
#pragma once

#include <string>

#include "server/api/router.h"
#include "server/service.h"

namespace inkling::server {

// `web_root`: serves that folder in place of the pages that are built in; for work on them.
void add_page_routes(Router& router, Service& service, const std::string& web_root);

// Made from the routes and the table of wish fields, so it says what the server does.
nlohmann::json openapi_document(const Router& router, const WishLimits& limits);

}  // namespace inkling::server
