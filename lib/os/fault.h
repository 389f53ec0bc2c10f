// A test in the kernel's place, so that system calls fail when the test wants it.
//
// Always holds: only builds with -Dchecks=full have it; there every system call of the library comes by, and goes to
// the kernel unless a test has put a function in.
// Who may use it: system_call.h, and tests.
#pragma once

#include "base/atomic.h"
#include "base/check.h"

namespace poolalloc {

inline constexpr bool kHasFaults = kCheckLevel >= 2;

// Answers a system call as the kernel does: its result, or a negated errno value. It may ask the kernel itself
// (kernel_call). Runs in any thread, with locks held, and in signal handlers.
using StandIn = long (*)(long number, const long (&arguments)[6]);

// nullptr: the kernel answers. Synchronization: atomic.
inline constinit Atomic<StandIn> stand_in{nullptr};

}  // namespace poolalloc
