// Our own API: jobs, their events, editing sessions, what the pages need to know.
#pragma once

#include "server/api/router.h"
#include "server/service.h"

namespace inkling::server {

void add_native_routes(Router& router, Service& service);

}  // namespace inkling::server
