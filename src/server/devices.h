// The devices of the machine as workers: every GPU, and the CPU as a way out when none of them works.
#pragma once

#include <vector>

#include "server/jobs/dispatcher.h"

namespace inkling::server {

struct ServiceOptions;

// Throws ArgumentError for a device that cannot be.
std::vector<DeviceOptions> worker_devices(const ServiceOptions& options);

}  // namespace inkling::server
