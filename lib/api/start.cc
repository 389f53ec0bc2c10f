// What happens before main and at exit.
//
// Always holds: nothing here is needed for malloc to work: allocation before, during and after these
// functions is served all the same. Memory is not torn down at exit.
// Who may use it: the dynamic linker.
#include <pthread.h>

#include "api/export.h"
#include "api/options.h"
#include "api/poolalloc.h"
#include "api/stats.h"
#include "chunk/region.h"
#include "heap/heap.h"
#include "heap/usage.h"
#include "os/message.h"

#define PA_STRING_OF(x) #x
#define PA_STRING(x) PA_STRING_OF(x)
#define PA_VERSION                   \
  PA_STRING(POOLALLOC_VERSION_MAJOR) \
  "." PA_STRING(POOLALLOC_VERSION_MINOR) "." PA_STRING(POOLALLOC_VERSION_PATCH)

namespace poolalloc {
namespace {

// glibc passes the program's arguments and environment to constructors of shared objects.
__attribute__((constructor)) void start(int, char**, char** environment) {
  os_note_stderr();
  options_read(environment);
  if (options.stats) {
    os_keep_stderr();
    usage_tracked.store_relaxed(true);
  }
  // Fails only without memory; then a fork of a multithreaded program is unsafe, as it is by itself.
  pthread_atfork(heap_fork_prepare, heap_fork_parent, heap_fork_child);
  if (options.verbose) {
    Message message;
    message.text("version " PA_VERSION " serves process ").number(uint64_t(os_process_id())).send();
  }
}

__attribute__((destructor)) void finish() {
  if (options.stats) stats_print_summary();
}

}  // namespace
}  // namespace poolalloc

POOLALLOC_EXPORT const char* poolalloc_version(void) { return PA_VERSION; }

// For tools that look at a running process from outside: the symbol is found in the file, the values
// through /proc/PID/mem. Words are written by the library only.
struct poolalloc_state {
  char magic[16];
  const void* mapped_chunks;  // -> uint64_t
  const void* slices_in_use;  // -> int64_t
};
extern "C" __attribute__((visibility("default"))) const poolalloc_state poolalloc_state;
constinit const struct poolalloc_state poolalloc_state {
  "libpoolalloc " PA_STRING(POOLALLOC_VERSION_MAJOR), &poolalloc::region_table.mapped_chunks,
      &poolalloc::region_table.slices_in_use
};
