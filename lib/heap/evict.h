// Memory from the heaps of threads that sleep: what their owners hold without needing it, taken without their
// help.
//
// Of a heap that a thread owns, another one may take, with the heap's lock:
//
//   active pools without a live block   they become partial ones that start anew, their memory given back
//   batches of remote frees             they are sent
//   what is all in the mailbox          heap_reap in remote.h
//
// The owner uses its lists and batches without a lock. So both sides write, then look; the owner has no fence
// between the two, and who evicts lets the kernel run one in every thread (os_barrier_others).
//
//   lists     The owner counts a block as live, then reads the head (list_pop). Who evicts takes the head away,
//             and after the barrier reads head and count, at one instant. If both are zero, the owner is not at
//             the list: a pop that had read the head before would have counted, a free has a live block until
//             its last step. From here on the owner finds no head, which leads it to the lock. If they are not,
//             the owner has been there, or is, and whether the head that was taken is still the list's nobody
//             else can know: it is left in PoolChain::seized, and the owner, when it finds no head, or puts the
//             pool away, counts whether its blocks are missing (seized_return).
//             The owner's last free may have brought the count to zero, and be on its way to look at the pool
//             (heap_pool_trap). So the pool must stay the heap's; it is not released.
//   batches   The owner says that it is at its batches, then reads whether they are seized, and if so, waits for
//             the lock. Who evicts says that they are seized, and after the barrier reads whether the owner is
//             there; then it lets go.
//
// Always holds: nothing is done where the kernel has no such barrier; a heap whose lock is taken is left alone.
// Who may use it: heap, and api for trimming.
#pragma once

#include "heap/heap.h"

namespace poolalloc {

// While one lives, the owner is at its batches.
class BatchesHeld {
 public:
  explicit BatchesHeld(Heap& heap) : heap_(heap) {
    for (;;) {
      heap.batches_busy.store_relaxed(1);
      compiler_barrier();
      // Acquire: what the last one who seized them did is done.
      if (PA_LIKELY(heap.batches_seized.load_acquire() == 0)) return;
      heap.batches_busy.store_release(0);
      LockGuard until_it_is_done(heap.lock);
    }
  }
  // Release: to the next one who seizes them.
  ~BatchesHeld() { heap_.batches_busy.store_release(0); }
  BatchesHeld(const BatchesHeld&) = delete;
  BatchesHeld& operator=(const BatchesHeld&) = delete;

 private:
  Heap& heap_;
};

// Takes what can be taken of a heap. The caller holds no lock; any thread but the heap's own.
void heap_evict(Heap& heap);

// The same for the heaps of all other threads.
void heap_evict_others();

}  // namespace poolalloc
