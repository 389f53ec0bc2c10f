// The end of a program by _exit, which runs no destructors.
//
// Always holds: nothing is done before that but what POOLALLOC_STATS asks for, and nothing in a child of vfork.
// Who may use it: interpose.
#pragma once

namespace poolalloc {

[[noreturn]] void api_exit(int status);

}  // namespace poolalloc
