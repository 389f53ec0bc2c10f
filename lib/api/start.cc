// What happens before main and at exit.
//
// Always holds: nothing here is needed for malloc to work: allocation before, during and after these
// functions is served all the same. Memory is not torn down at exit.
// Who may use it: the dynamic linker.
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "api/export.h"
#include "api/layout.h"
#include "api/options.h"
#include "api/pass.h"
#include "api/poolalloc.h"
#include "api/profile.h"
#include "api/start.h"
#include "api/stats.h"
#include "api/stats_file.h"
#include "chunk/accounts.h"
#include "chunk/extent.h"
#include "heap/evict.h"
#include "heap/heap.h"
#include "heap/next_allocator.h"
#include "heap/usage.h"
#include "os/libc.h"
#include "os/message.h"
#include "os/os.h"
#include "os/place.h"

#define PA_STRING_OF(x) #x
#define PA_STRING(x) PA_STRING_OF(x)
#define PA_VERSION                   \
  PA_STRING(POOLALLOC_VERSION_MAJOR) \
  "." PA_STRING(POOLALLOC_VERSION_MINOR) "." PA_STRING(POOLALLOC_VERSION_PATCH)

namespace poolalloc {
namespace {

// Asked again at exit: a forked child is another process.
bool summary_wanted() {
  return options.stats != 0 && (options.stats == 1 || options.stats == uint64_t(os_process_id()));
}
bool figures_wanted() { return options.stats_folder != nullptr; }
bool json_wanted() { return options.stats_file != nullptr; }
bool map_wanted() { return options.map_file != nullptr; }
bool end_matters() {
  if (next_allocator() != nullptr) return false;
  return summary_wanted() || figures_wanted() || json_wanted() || map_wanted() || profile_end_matters();
}

// The process whose end is this program's, if it matters: not a child of vfork, which has the memory of its parent.
constinit Atomic<int> process{0};
// It has come.
constinit Atomic<bool> is_over{false};

// At the end, however the program has come to it, once.
void finish() {
  if (!end_matters() || process.load_relaxed() != os_process_id()) return;
  if (!stats_can_be_gathered() || is_over.exchange_acquire(true)) return;
  if (profile_end_matters()) profile_finish();
  if (figures_wanted()) stats_file_write(true);
  if (json_wanted()) stats_write_json(options.stats_file);
  if (map_wanted()) stats_write_map(options.map_file);
  if (summary_wanted()) stats_print_summary();
}

void fork_child() {
  heap_fork_child();
  if (end_matters()) process.store_relaxed(os_process_id());
  is_over.store_relaxed(false);
  profile_fork_child();
  if (figures_wanted()) stats_file_renew();
}

// Says which names are not this library's, but another's that the program brings along.
void report_other_allocators() {
  constexpr const char* kNames[] = {"malloc", "free", "calloc", "realloc", "posix_memalign", "_Znwm", "_ZdlPv"};
  for (const char* name : kNames) {
    const char* address = static_cast<const char*>(dlsym(RTLD_DEFAULT, name));
    if (address == nullptr || os_is_own_place(address)) continue;
    const Definer definer = os_definer_of(address);
    if (!definer.is_known) continue;
    Message message;
    message.text(name).text(" is not this library's but that of ");
    message.text(definer.path != nullptr ? definer.path : "the program").send();
  }
}

// Linked to be the first constructor of all, so that its fork handlers are outermost: other libraries' handlers, which
// may wait for threads that allocate, run while this library's locks are free.
__attribute__((constructor(101))) void start(int, char** arguments, char** environment) {
  heap_start();
  const ProgramStart program = program_start(arguments, environment);
  os_note_start(program.name);
  options_read(program.environment);
  if (pass_is_wanted(options.disabled, program.name) && !pass_start())
    Message().text("POOLALLOC_DISABLE has no effect: there is no other allocator").send();
  if (summary_wanted() || json_wanted() || map_wanted()) {
    os_keep_stderr();
    usage_tracked.store_relaxed(true);
  }
  if (figures_wanted()) stats_file_start(options.stats_folder);
  if (end_matters()) end_watch();
  profile_serve_requests();
  if (os_address_space_limit() != SIZE_MAX) extents_note_limit();
  // Fails only without memory; then a fork of a multithreaded program is unsafe, as it is by itself.
  pthread_atfork(heap_fork_prepare, heap_fork_parent, fork_child);
  if (options.verbose) {
    Message message;
    message.text("version " PA_VERSION)
        .text(next_allocator() == nullptr ? " serves process " : " is disabled in process ");
    message.number(uint64_t(os_process_id())).send();
    report_other_allocators();
  }
}

__attribute__((destructor)) void finish_at_exit() { finish(); }

}  // namespace

void end_watch() {
  const int own = os_process_id();
  if (process.load_relaxed() == own) return;
  process.store_relaxed(own);
  // What is registered first is called last.
  at_quick_exit(finish);
}

void api_exit(int status) {
  finish();
  os_exit(status);
}

}  // namespace poolalloc

POOLALLOC_EXPORT const char* poolalloc_version(void) { return PA_VERSION; }

// For tools that look at a running process from outside: the symbol is found in the file, all else through
// /proc/PID/mem by what it leads to.
struct poolalloc_state {
  char magic[16];
  const poolalloc::LayoutVariable* variables;
  const poolalloc::LayoutNumber* numbers;
  const unsigned* variable_count;
  const unsigned* number_count;
};
extern "C" __attribute__((visibility("default"))) const poolalloc_state poolalloc_state;
constinit const struct poolalloc_state poolalloc_state {
  "libpoolalloc " PA_STRING(POOLALLOC_VERSION_MAJOR), poolalloc::layout_variables, poolalloc::layout_numbers,
      &poolalloc::layout_variable_count, &poolalloc::layout_number_count
};
