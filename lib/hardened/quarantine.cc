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

// A thread that only frees gets a heap, whose end is its quarantine's.
PA_COLD Quarantine* quarantine_make() {
  if (has_ended) return nullptr;
  heap_before_detach.store_release(thread_ends);
  if (!heap_is_usable(thread_heap) && heap_attach() == nullptr) return nullptr;
  // To attach a heap may allocate.
  if (quarantine_of_thread != nullptr) return quarantine_of_thread;
  Quarantine* made = static_cast<Quarantine*>(os_map(mapped_size(), os_page_size()));
  if (made == nullptr) return nullptr;
  made->random = random_next();
  return quarantine_of_thread = made;
}

}  // namespace poolalloc
