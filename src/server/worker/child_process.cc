#include "server/worker/child_process.h"

#include <spawn.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "base/error.h"

namespace inkling::server {

pid_t spawn_child(const std::vector<std::string>& command, int socket) {
  std::vector<char*> arguments;
  for (const std::string& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // A socket that is 3 already would keep its close-on-exec flag: dup2 of itself clears it in posix_spawn.
  posix_spawn_file_actions_adddup2(&actions, socket, kLinkDescriptor);
  posix_spawn_file_actions_addclosefrom_np(&actions, kLinkDescriptor + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigfillset(&defaults);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  // A group of its own: Ctrl-C in the terminal is the server's to handle.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, command.front().c_str(), &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw RuntimeError("a process cannot be started: {}", std::strerror(failed));
  return pid;
}

}  // namespace inkling::server
