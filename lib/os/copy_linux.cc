// Whether this process is a copy of another one about which nobody has told the library (os.h), on Linux.
//
// Always holds: a page that the kernel does not copy (Linux 4.14) tells a copy from a process that shares its memory,
// as the child of vfork does. Who may use it: through os.h only.
#include <sys/mman.h>

#include "os/os.h"
#include "os/system_call.h"

namespace poolalloc {
namespace {

// Synchronization: written once. The word is 0 in a copy until that is noted.
constinit Atomic<Atomic<uint32_t>*> mark{nullptr};

}  // namespace

PA_COLD void os_copy_note() {
  Atomic<uint32_t>* word = mark.load_relaxed();
  if (word == nullptr) {
    void* page = os_map(os_page_size(), os_page_size());
    if (page == nullptr) return;
    if (failed(system_call(SYS_madvise, address_of(page), os_page_size(), MADV_WIPEONFORK))) {
      os_discard(page, os_page_size());
      return;
    }
    word = static_cast<Atomic<uint32_t>*>(page);
  }
  word->store_relaxed(1);
  mark.store_relaxed(word);
}

bool os_is_unknown_copy() {
  const Atomic<uint32_t>* word = mark.load_relaxed();
  return word != nullptr && word->load_relaxed() == 0;
}

}  // namespace poolalloc
