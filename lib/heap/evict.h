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
// between the two. Who evicts writes (seizes), sees to it that the owner's write before it, if there was one, is
// seen, and then looks (takes). malloc_trim lets the kernel run a fence in every thread (os_barrier_others); a
// sandbox may forbid that, so the sweeps, which look at all heaps once in a window of time, let time pass
// instead: what one seizes a later one takes, kSettled_ms after it. Processors hold back stores for microseconds,
// whatever becomes of the thread that made them.
//
//   lists     The owner counts a block as live, then reads the head (list_pop). Who evicts takes the head away,
//             and afterwards reads head and count, at one instant. If both are zero, the owner is not at
//             the list: a pop that had read the head before would have counted, a free has a live block until
//             its last step. From here on the owner finds no head, which leads it to the lock. If they are not,
//             the owner has been there, or is, and whether the head that was taken is still the list's nobody
//             else can know: it is left in PoolChain::seized, and the owner, when it finds no head, or puts the
//             pool away, counts whether its blocks are missing (seized_return).
//             The owner's last free may have brought the count to zero, and be on its way to look at the pool
//             (heap_pool_trap). So the pool must stay the heap's; it is not released.
//   batches   The owner says that it is at its batches, then reads whether they are seized, and if so, waits for
//             the lock, and takes them back. Who evicts says that they are seized, and afterwards, if they still
//             are, reads whether the owner is there.
//
// tests/models/lists.cc and batches.cc are models of both, whose every history is searched.
//
// A heap without a thread has nobody who shares: whoever holds its lock may give back what is free around its live
// blocks. Sweeps do that when it has not changed for kSettled_ms, because the next new thread adopts it.
//
// Always holds: a heap whose lock is taken is left alone; sweeps make no system call but for giving memory back and
// blocking signals, as threads do that start or end; they tear huge pages only when more is in empty pools there
// than may be kept.
// Who may use it: heap, and api for trimming.
#pragma once

#include "heap/heap.h"

namespace poolalloc {

// Between a sweep that seizes and one that takes, at the least.
inline constexpr uint64_t kSettled_ms = short_if_chaos(500, 9);

// An orphan has become one, or has got something back. heap.lock held.
inline void heap_changed(Heap& heap) {
  heap.changed_ms = os_clock_ms();
  heap.is_trimmed = false;
}

// The owner waits until nobody else is at its batches, and makes them its own.
void batches_take_back(Heap& heap);

// The owner says that it is no longer at its batches. Release: to the next one who seizes them.
inline void batches_leave(Heap& heap) { heap.batches_busy.store_release(0); }
// The owner is at its batches until batches_leave; false: they are seized.
inline bool batches_enter(Heap& heap) {
  heap.batches_busy.store_relaxed(1);
  compiler_barrier();
  // Acquire: what the last one who seized them did is done.
  if (PA_LIKELY(heap.batches_seized.load_acquire() == 0)) return true;
  batches_leave(heap);
  return false;
}

// While one lives, the owner is at its batches.
class BatchesHeld {
 public:
  explicit BatchesHeld(Heap& heap) : heap_(heap) {
    while (!batches_enter(heap)) batches_take_back(heap);
  }
  ~BatchesHeld() { batches_leave(heap_); }
  BatchesHeld(const BatchesHeld&) = delete;
  BatchesHeld& operator=(const BatchesHeld&) = delete;

 private:
  Heap& heap_;
};

// Takes what can be taken of a heap, unless the kernel has no barrier for it. The caller holds no lock; any thread
// but the heap's own.
void heap_evict(Heap& heap);

// The same for the heaps of all other threads; and all that is free of heaps without a thread. Waits for nobody's lock.
void heap_evict_others();
// Gives back the spares of all heaps, but of those that are in use at this moment; whether there were any. For when
// memory has run out; no lock held.
bool heap_spares_reclaim();

// Gives back all that is free: of the calling thread's heap, and what can be taken of others' without waiting for a
// lock.
void heap_trim_all();
// What somebody asks this process for from outside, who writes it there and finds `nothing` when it is done.
enum class Outside : uint32_t { nothing, trim, being_done, profile };
extern constinit Atomic<Outside> outside_wanted;
// Serves what is asked for the profile, with no lock held; nullptr: nobody does. Synchronization: set once at start-up.
extern constinit Atomic<void (*)()> outside_profile;

}  // namespace poolalloc
