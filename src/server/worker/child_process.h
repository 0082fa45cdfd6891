// Starting a program of ours that speaks over descriptor 3.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace inkling::server {

constexpr int kLinkDescriptor = 3;

// Starts the program with `socket` as descriptor 3 and nothing else of ours open; signals are as at the start of a
// program. Throws RuntimeError.
pid_t spawn_child(const std::vector<std::string>& command, int socket);

}  // namespace inkling::server
