// Blocks that are not reused yet (quarantine.h).
//
// Who may use it: through quarantine.h.
#include "hardened/quarantine.h"

#include "base/bits.h"
#include "base/policy.h"
#include "heap/heap.h"
#include "heap/usage.h"
#include "os/os.h"

namespace poolalloc {

__thread Quarantine* quarantine_of_thread;

namespace {

__thread bool has_ended;

size_t mapped_size() { return round_up(sizeof(Quarantine), os_page_size()); }

void thread_ends() {
  Quarantine* quarantine = quarantine_of_thread;
  has_ended = true;
  quarantine_of_thread = nullptr;
  if (quarantine == nullptr) return;
  for (unsigned c = 0; c < kClassCount; c++) {
    for (void* block : quarantine->blocks[c]) {
      if (block == nullptr) continue;
      usage_kept.add(-1, class_size(c));
      quarantine_let_go(block);
    }
  }
  os_discard(quarantine, mapped_size());
}

}  // namespace

// Only beside a heap, whose end is the quarantine's: libc frees memory in threads that never had one, and whose
// thread-specific destructors have run already.
PA_COLD Quarantine* quarantine_make() {
  if (has_ended || !heap_is_usable(thread_heap)) return nullptr;
  heap_before_detach.store_release(thread_ends);
  Quarantine* made = static_cast<Quarantine*>(os_map(mapped_size(), os_page_size()));
  if (made == nullptr) return nullptr;
  made->random = random_next();
  return quarantine_of_thread = made;
}

}  // namespace poolalloc
