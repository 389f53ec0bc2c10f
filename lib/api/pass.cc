// Passing calls on to the allocator behind this library (pass.h).
//
// Who may use it: through pass.h.
#include "api/pass.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/auxv.h>

#include "base/bits.h"
#include "heap/heap.h"
#include "heap/next_allocator.h"
#include "os/place.h"

namespace poolalloc {
namespace {

constinit NextAllocator found{};

template <typename Function>
bool find(Function*& function, const char* name) {
  function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
  return function != nullptr;
}

// Whether the list has the last part of the path.
bool lists(const char* names, const char* path) {
  if (path == nullptr) return false;
  const char* slash = strrchr(path, '/');
  const char* name = slash != nullptr ? slash + 1 : path;
  const size_t length = strlen(name);
  for (const char* each = names; each != nullptr; each = strchr(each, ',')) {
    if (*each == ',') each++;
    if (length != 0 && strncmp(each, name, length) == 0 && (each[length] == ',' || each[length] == 0)) return true;
  }
  return false;
}

}  // namespace

bool pass_is_wanted(const char* value, const char* path) {
  if (value == nullptr) return false;
  // How the program was called; and what the kernel has started, which for a script is the script.
  return strcmp(value, "1") == 0 || lists(value, path) || lists(value, pointer_to<const char>(getauxval(AT_EXECFN)));
}

bool pass_start() {
  NextAllocator& next = found;
  if (!find(next.malloc, "malloc") || !find(next.calloc, "calloc") || !find(next.realloc, "realloc") ||
      !find(next.free, "free") || !find(next.memalign, "memalign") || !find(next.aligned_alloc, "aligned_alloc") ||
      !find(next.posix_memalign, "posix_memalign") || !find(next.malloc_usable_size, "malloc_usable_size"))
    return false;
  find(next.malloc_trim, "malloc_trim");
  find(next.mallopt, "mallopt");
  find(next.mallinfo2, "mallinfo2");
  find(next.malloc_info, "malloc_info");
  find(next.malloc_stats, "malloc_stats");
  next_allocator_set.store_release(&next);
  heap_let_go();
  return true;
}

void pass_start_beside(const void* malloc_address) {
  if (os_definer_of(malloc_address).is_program) pass_start();
}

}  // namespace poolalloc
