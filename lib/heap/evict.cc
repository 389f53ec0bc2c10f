// Memory from the heaps of threads that sleep (evict.h).
//
// Who may use it: through evict.h and heap.h.
#include "heap/evict.h"

#include "chunk/region.h"
#include "heap/holes.h"
#include "heap/remote.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Mailboxes that one sweep looks at, so that it takes a millisecond at most. It makes no system call but for
// giving memory back: a process may have been forbidden all others since it started.
constexpr unsigned kSweepMost = 64;

// Synchronization: atomic; who changes it does the sweep.
constinit Atomic<uint64_t> swept_window{0};
// Where the next sweep goes on; nullptr: at the first heap. Synchronization: only hints; a Heap is never freed.
constinit Atomic<Heap*> sweep_next{nullptr};

// The classes whose active pool has no live block.
struct ClassSet {
  uint64_t words[divide_up(kClassCount, 64)];
  bool has(unsigned c) const { return (words[c / 64] >> (c % 64) & 1) != 0; }
  void add(unsigned c) { words[c / 64] |= uint64_t{1} << (c % 64); }
};

// Whether the list has no head and the pool no live block, at one instant.
bool is_bare(FreeList& list) {
  // Acquire: the owner's frees that led there are done. (Here for the thread sanitizer's eyes.)
  return atomic_pair_is_zero(&list) && __atomic_load_n(&list.count, __ATOMIC_ACQUIRE) == 0;
}

static_assert(offsetof(Heap, active) == 0 && sizeof(FreeList) == 16, "each list is a pair of words");

// Takes the lists of empty active pools away; for which classes.
ClassSet lists_seize(Heap& heap) {
  ClassSet seized{};
  for (unsigned c = 0; c < kClassCount; c++) {
    PoolChain& chain = heap.chains[c];
    bool is_empty = __atomic_load_n(&heap.active[c].count, __ATOMIC_RELAXED) == 0;
    if (chain.active == nullptr || !is_empty) continue;
    Block** head = &heap.active[c].head;
    if (chain.seized != nullptr) {
      // The owner has not been here since; what it has freed is its own.
      if (__atomic_load_n(head, __ATOMIC_RELAXED) != nullptr) continue;
    } else {
      chain.seized = __atomic_exchange_n(head, nullptr, __ATOMIC_RELAXED);
    }
    seized.add(c);
  }
  return seized;
}

void heap_sweep() {
  if (heap_thread_count() < 2) return;
  Heap* heap = sweep_next.load_relaxed();
  if (heap == nullptr) heap = heap_list();
  for (unsigned i = 0; i < kSweepMost && heap != nullptr; i++, heap = heap->next) {
    if (heap->mailbox.load_relaxed() != nullptr) mailbox_look(*heap);
  }
  sweep_next.store_relaxed(heap);
}

}  // namespace

void heap_evict(Heap& heap) {
  // Also asks the kernel for the barrier for the first time, which takes a while; and not for nothing, because a
  // sandbox may forbid it.
  if (heap.state.load_relaxed() != HeapState::owned || !os_barrier_others()) return;
  Heap* owners[kBatchCount];
  unsigned owner_count = 0;
  {
    // A handler that forks, or allocates, finds the heap whole.
    SignalsBlocked blocked;
    if (!lock_try_acquire(heap.lock)) return;
    if (heap.state.load_relaxed() == HeapState::owned) {
      heap.batches_seized.store_relaxed(1);
      ClassSet seized = lists_seize(heap);
      bool passed = os_barrier_others();
      if (passed && heap.batches_busy.load_acquire() == 0) owner_count = remote_take(heap, owners);
      // Release: to the owner.
      heap.batches_seized.store_release(0);
      for (unsigned c = 0; passed && c < kClassCount; c++) {
        if (seized.has(c) && is_bare(heap.active[c])) heap_pool_evict(heap, c);
      }
    }
    lock_release(heap.lock);
  }
  for (unsigned i = 0; i < owner_count; i++) mailbox_look(*owners[i]);
  // As in heap_reap: its thread may have ended meanwhile.
  fence_seq_cst();
  if (heap.mailbox.load_relaxed() != nullptr) mailbox_look(heap);
  purge_excess(0);
}

void heap_evict_others() {
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap != thread_heap) heap_evict(*heap);
  }
}

void heap_slow_path_end(int64_t slices) {
  if (heap_is_usable(thread_heap)) heap_shed_excess(*thread_heap);
  purge_excess(slices);
  uint64_t window = region_table.retention.window_start.load_relaxed();
  uint64_t swept = swept_window.load_relaxed();
  if (PA_LIKELY(window == swept) || !swept_window.cas_weak_relaxed(swept, window)) return;
  heap_sweep();
}

}  // namespace poolalloc
