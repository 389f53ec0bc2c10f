// Whether this process is a copy of another one about which nobody has told the library (os.h), on Linux.
//
// Always holds: a page that the kernel does not copy (Linux 4.14) tells a copy from a process that shares its memory,
// as the child of vfork does. Who may use it: through os.h only.
#include <sys/mman.h>

#include "os/os.h"
#include "os/system_call.h"

namespace poolalloc {
namespace {

// The word is 0 in a copy until that is noted. nullptr: there is none yet. Synchronization: written once.
constinit Atomic<Atomic<uint32_t>*> mark{nullptr};
// Where the kernel knows no such pages.
constinit Atomic<uint32_t> never_zero{1};

PA_COLD void mark_make() {
  void* page = os_map(os_page_size(), os_page_size());
  if (page == nullptr) return;
  auto* word = static_cast<Atomic<uint32_t>*>(page);
  if (failed(system_call(SYS_madvise, address_of(page), os_page_size(), MADV_WIPEONFORK))) word = &never_zero;
  word->store_relaxed(1);
  // Release: who sees the mark sees its word. Where this fails for nothing, the next lock tries again.
  Atomic<uint32_t>* none = nullptr;
  if (!mark.cas_weak_release(none, word) || word == &never_zero) os_discard(page, os_page_size());
}

}  // namespace

void os_copy_expect() {
  if (PA_UNLIKELY(mark.load_relaxed() == nullptr) && os_has_threads()) mark_make();
}

bool os_is_unknown_copy() {
  // Acquire: the word.
  const Atomic<uint32_t>* word = mark.load_acquire();
  return word != nullptr && word->load_relaxed() == 0;
}

PA_COLD void os_copy_note() { mark.load_acquire()->store_relaxed(1); }

}  // namespace poolalloc
