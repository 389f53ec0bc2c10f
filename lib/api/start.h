// The end of a program, also by _exit, which runs no destructors.
//
// Always holds: nothing is done before that but what POOLALLOC_STATS and POOLALLOC_PROFILE ask for, and nothing in a
// child of vfork.
// Who may use it: api; interpose for _exit.
#pragma once

namespace poolalloc {

[[noreturn]] void api_exit(int status);
// From here on the end of this process matters. Any thread; again does no harm.
void end_watch();

}  // namespace poolalloc
