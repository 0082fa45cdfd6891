// OpenAI's Images API, as its clients speak it: generations, edits (JSON and multipart), streaming, models, errors.
#pragma once

#include "server/api/router.h"
#include "server/service.h"

namespace inkling::server {

void add_openai_routes(Router& router, Service& service);

}  // namespace inkling::server
