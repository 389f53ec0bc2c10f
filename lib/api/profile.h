// The profile (inspect/profile.h) as programs, variables and tools get at it.
//
// Always holds: a file is written whole, or what was there stays; who cannot be served is told why.
// Synchronization: one of these at a time, but for profile_finish.
// Who may use it: api.
#pragma once

#include "base/atomic.h"
#include "os/os.h"

namespace poolalloc {

// What somebody asks for from outside, who has written it into the memory of this process. Known to
// scripts/poolalloc_cli/process.py.
struct ProfileRequest {
  uint32_t size;      // sizeof(ProfileRequest). The library's
  uint32_t is_on;     // whether there are samples now. The library's
  uint64_t interval;  // begin with it; 0: all stays as it is; kProfileStop: no further samples
  uint32_t error;     // 0: done, else an errno value. The library's
  char path[256];     // a file that is to be made; "": none
};
inline constexpr uint64_t kProfileStop = UINT64_MAX;
extern constinit ProfileRequest profile_request;

// What POOLALLOC_PROFILE says: 0, SIZE[:FILE] or leaks[:FILE], a SIZE in bytes. `file` is copied; nullptr: a default.
// False: there is no memory, or the path is too long.
bool profile_option_set(uint64_t interval, bool finds_lost, const char* file);
void profile_option_clear();

// Whether the end of the process matters, and what is to be done there.
bool profile_end_matters();
void profile_finish();

// Once, when the process starts; and in the child of a fork.
void profile_serve_requests();
void profile_fork_child();

}  // namespace poolalloc
