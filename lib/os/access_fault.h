// Accesses to memory that the kernel refuses: who wants to know of them, before the program does.
//
// Always holds: no signal handler is installed before os_faults_watch. After a visit all goes on as it would have
// without this: to the handler that was installed before, or to the default action, which ends the process. A handler
// that the program installs later stands in the place of this one; it may hand on to it.
// Who may use it: heap.
#pragma once

#include <stdint.h>

namespace poolalloc {

enum class AccessKind : uint8_t { unknown, read, write, execute };

struct AccessFault {
  uintptr_t address;  // what was accessed
  uintptr_t pc;       // by which instruction; 0: not known
  AccessKind kind;
};

// Calls visit for every such fault of the process from now on (SIGSEGV and SIGBUS that the kernel sends for an access),
// in a signal handler, on the alternate stack if there is one. Called once. False when the kernel refuses.
bool os_faults_watch(void (*visit)(const AccessFault& fault));

}  // namespace poolalloc
