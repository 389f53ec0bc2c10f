// Whether operator new means the same everywhere in the program (cxx_runtime.h), on Linux.
//
// Always holds: only what ld.so has loaded for reading is read.
// Who may use it: through cxx_runtime.h.
#include "os/cxx_runtime.h"

#include <link.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// The name of std::bad_alloc's type, between zeros: it is where operator new is, in the runtime alone.
constexpr char kMark[] = "\0St9bad_alloc";

bool is_shared_runtime(const char* name) {
  const char* slash = strrchr(name, '/');
  const char* base = slash != nullptr ? slash + 1 : name;
  return strncmp(base, "libstdc++.so", 12) == 0 || strncmp(base, "libc++", 6) == 0;
}

int has_mark(dl_phdr_info* info, size_t, void*) {
  if (is_shared_runtime(info->dlpi_name)) return 0;
  for (unsigned i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & (PF_R | PF_W)) != PF_R) continue;
    const uintptr_t start = info->dlpi_addr + part.p_vaddr;
    // This library has the name for the search alone.
    if (address_of(kMark) - start < part.p_filesz) return 0;
    if (memmem(pointer_to<void>(start), part.p_filesz, kMark, sizeof kMark) != nullptr) return 1;
  }
  return 0;
}

}  // namespace

bool os_has_private_cxx_runtime() {
  // Once there was one its blocks are about, though it may be unloaded; and a look takes long.
  static constinit Atomic<bool> was_seen{false};
  if (was_seen.load_relaxed()) return true;
  // Another thread may have had ld.so's lock when the child was forked.
  bool is_there = !os_is_first_process() || dl_iterate_phdr(has_mark, nullptr) != 0;
  if (is_there) was_seen.store_relaxed(true);
  return is_there;
}

}  // namespace poolalloc
