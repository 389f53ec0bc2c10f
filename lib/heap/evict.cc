// Memory from the heaps of threads that sleep (evict.h).
//
// Who may use it: through evict.h and heap.h.
#include "heap/evict.h"

#include "chunk/accounts.h"
#include "chunk/extent.h"
#include "chunk/purge.h"
#include "chunk/region.h"
#include "heap/holes.h"
#include "heap/misuse.h"
#include "heap/purge_thread.h"
#include "heap/remote.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// After how long, and after how many pools, a sweep stops; after a pause the next one goes on from there.
constexpr uint64_t kSweepMost_ms = 8;
constexpr unsigned kEvictMost = short_if_chaos(1024, 8);
constexpr uint64_t kSweepPause_ms = short_if_chaos(40, 4);

// Synchronization: atomic; who changes it does the sweep.
constinit Atomic<uint64_t> swept_window{0};
// Where the next sweep goes on; nullptr: at the first heap. Synchronization: only hints; a gate is never freed.
constinit Atomic<HeapGate*> sweep_next{nullptr};
// When that may be; 0: not before there is a new window. Synchronization: atomic; who changes it does the sweep.
constinit Atomic<uint64_t> sweep_again_ms{0};
// Bytes of empty pools in huge pages that sweeps have come by since the first heap. Synchronization: a hint.
constinit Atomic<int64_t> huge_empty{0};
// Whether those are more than may be kept, so that huge pages are torn for them. Synchronization: a hint.
constinit Atomic<bool> may_tear{false};

// Whether the pool's list, the active one, is empty and the pool has no live block, at one instant.
bool is_bare(FreeList& list, const BlockPool& pool) {
  // Acquire: the owner's frees that led there are done. (Here for the thread sanitizer's eyes.)
  return atomic_pair_is(&list, address_of(list_end(pool)), 0) && __atomic_load_n(&list.count, __ATOMIC_ACQUIRE) == 0;
}

static_assert(offsetof(Heap, active) == 0 && sizeof(FreeList) == 16, "each list is a pair of words");

// The first step: says that the batches are seized, and takes the lists of empty active pools away; `tears`: also
// of those in huge pages, or else how many bytes these have. heap.lock held.
int64_t heap_seize(Heap& heap, bool tears) {
  int64_t spared = 0;
  heap.batches_seized.store_relaxed(1);
  for (unsigned c = 0; c < kClassCount; c++) {
    FreeList& list = heap.active[c];
    // A list has blocks only if there is an active pool.
    bool is_empty = __atomic_load_n(&list.count, __ATOMIC_RELAXED) == 0;
    if (!is_empty || list_is_empty(list)) continue;
    PoolChain& chain = heap.chains[c];
    // The one that was seized before may still be in force, or not: for the owner to find out.
    if (chain.seized != nullptr) continue;
    if (!tears && slice_is_huge(chain.active)) {
      spared += chain.active->slice_count * int64_t{kSliceSize};
      continue;
    }
    chaos_gap();
    chain.seized = __atomic_exchange_n(&list.head, list_end(*chain.active), __ATOMIC_RELAXED);
  }
  heap.seized_ms = os_clock_ms();
  return spared;
}

// What was taken of a heap.
struct Evicted {
  Heap* owners[kOwnersMost];  // of the blocks in its batches
  unsigned owner_count = 0;
  unsigned pool_count = 0;
};

// The second step, when what the owner wrote before the first is seen. heap.lock held.
void seized_take(Heap& heap, Evicted& evicted) {
  chaos_gap();
  // Acquire: the owner is done with them.
  bool has_batches = heap.batches_seized.load_relaxed() != 0 && heap.batches_busy.load_acquire() == 0;
  if (has_batches) evicted.owner_count = remote_take(heap, evicted.owners);
  for (unsigned c = 0; c < kClassCount; c++) {
    if (heap.chains[c].seized == nullptr) continue;
    chaos_gap();
    if (!is_bare(heap.active[c], *heap.chains[c].active)) continue;
    chaos_gap();
    heap_pool_evict(heap, c);
    chaos_note(ChaosEvent::evicted);
    evicted.pool_count++;
  }
}

// After the lock's release.
void evict_end(Heap& heap, const Evicted& evicted) {
  // As in mailbox_push, and as in heap_reap: threads may have ended meanwhile.
  fence_seq_cst();
  for (unsigned i = 0; i < evicted.owner_count; i++) {
    Heap& owner = *evicted.owners[i];
    if (mailbox_is_due(owner, owner.mail_count.load_relaxed())) mailbox_look(owner);
  }
  if (heap.mailbox.load_relaxed() != nullptr) mailbox_look(heap);
}

// What a heap without a thread has free around its live blocks goes back. heap.lock held.
void orphan_trim(Heap& heap, Evicted& evicted) {
  if (heap.gate->state.load_relaxed() == HeapState::vanished) heap_inherit(heap);
  // Those of a vanished thread; others have sent theirs.
  evicted.owner_count = remote_take(heap, evicted.owners);
  heap_trim(heap);
}

// The same when it has not changed for a while: no thread has wanted the heap.
void orphan_settle(Heap& heap, Evicted& evicted) {
  if (heap.gate->state.load_relaxed() == HeapState::vanished) return heap_inherit(heap);
  if (heap.is_trimmed || os_clock_ms() - heap.changed_ms < kSettled_ms) return;
  orphan_trim(heap, evicted);
  heap.is_trimmed = true;
  chaos_note(ChaosEvent::orphan_settled);
}

// A sweep's look at one heap; how many pools it took.
unsigned heap_look(Heap& heap) {
  Evicted evicted;
  if (may_purge() && &heap != thread_heap && lock_try_acquire(heap.gate->lock)) {
    HeapState state = heap.gate->state.load_relaxed();
    if (state == HeapState::owned) {
      if (os_clock_ms() - heap.seized_ms >= kSettled_ms) seized_take(heap, evicted);
      huge_empty.add_relaxed(heap_seize(heap, may_tear.load_relaxed()));
      if (spares_are_idle(heap)) spares_release(heap);
    } else if (state == HeapState::orphan || state == HeapState::vanished) {
      orphan_settle(heap, evicted);
    }
    lock_release(heap.gate->lock);
  }
  evict_end(heap, evicted);
  return evicted.pool_count;
}

void heap_sweep() {
  // Nobody else, and no orphan.
  if (heap_list()->next == shared_heap.gate) return;
  const uint64_t until = os_clock_ms() + kSweepMost_ms;
  HeapGate* gate = sweep_next.load_relaxed();
  if (gate == nullptr) gate = heap_list();
  // As in heap_evict.
  SignalsBlocked blocked;
  unsigned pools = 0;
  for (; pools < kEvictMost && gate != nullptr && os_clock_ms() < until; gate = gate->next)
    pools += heap_look(*gate->heap);
  sweep_next.store_relaxed(gate);
  sweep_again_ms.store_relaxed(gate != nullptr ? os_clock_ms() + kSweepPause_ms : 0);
  if (gate != nullptr) return;
  may_tear.store_relaxed(huge_empty.load_relaxed() > budget_now(Retention{}));
  huge_empty.store_relaxed(0);
}

}  // namespace

PA_COLD void batches_take_back(Heap& heap) {
  chaos_note(ChaosEvent::batches_back);
  // A signal handler has interrupted the owner while it held the lock: nobody else is at them.
  if (lock_is_mine(heap.gate->lock)) return heap.batches_seized.store_relaxed(0);
  LockGuard guard(heap.gate->lock);
  heap.batches_seized.store_relaxed(0);
}

void heap_evict(Heap& heap) {
  if (heap.gate->state.load_relaxed() != HeapState::owned) return;
  // Also asks the kernel for the barrier for the first time, which takes a while. A sandbox may forbid it.
  const bool has_barrier = os_barrier_others();
  Evicted evicted;
  {
    // A handler that forks, or allocates, finds the heap whole.
    SignalsBlocked blocked;
    if (!lock_try_acquire(heap.gate->lock)) return;
    if (heap.gate->state.load_relaxed() == HeapState::owned) {
      if (has_barrier) heap_seize(heap, true);
      spares_release(heap);
      if (has_barrier && os_barrier_others()) seized_take(heap, evicted);
    }
    lock_release(heap.gate->lock);
  }
  evict_end(heap, evicted);
  purge_excess(0);
}

namespace {

// Of a heap without a thread, unless somebody is at it.
void heap_trim_orphan(Heap& heap) {
  Evicted evicted;
  {
    SignalsBlocked blocked;
    if (!lock_try_acquire(heap.gate->lock)) return;
    if (heap.gate->state.load_relaxed() != HeapState::owned) orphan_trim(heap, evicted);
    lock_release(heap.gate->lock);
  }
  evict_end(heap, evicted);
}

}  // namespace

void heap_evict_others() {
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    if (gate->heap != thread_heap) heap_evict(*gate->heap);
  }
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    if (gate->heap->mailbox.load_relaxed() != nullptr) mailbox_look(*gate->heap);
    if (gate->state.load_relaxed() != HeapState::owned) heap_trim_orphan(*gate->heap);
  }
  misuse_report();
}

PA_COLD PA_RACY bool heap_spares_reclaim() {
  bool any = false;
  SignalsBlocked blocked;
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    if (gate->heap->spares.slices == 0 || !lock_try_acquire(gate->lock)) continue;
    any |= spares_release(*gate->heap);
    lock_release(gate->lock);
  }
  return any;
}

constinit Atomic<Outside> outside_wanted{Outside::nothing};
constinit Atomic<void (*)()> outside_profile{nullptr};

void heap_trim_all() {
  Heap* heap = thread_heap;
  if (heap_is_usable(heap)) {
    remote_flush(*heap);
    LockGuard guard(heap->gate->lock);
    heap_collect(*heap);
    heap_trim(*heap);
  }
  heap_evict_others();
  purge_all();
  if (extents_space_is_limited()) extents_unmap();
}

// Acquire, and release: what goes with it.
static PA_COLD void outside_serve(Outside wanted) {
  if (wanted == Outside::being_done || !outside_wanted.cas_acquire(wanted, Outside::being_done)) return;
  if (wanted == Outside::trim) heap_trim_all();
  if (auto serve = outside_profile.load_relaxed(); wanted == Outside::profile && serve != nullptr) serve();
  outside_wanted.store_release(Outside::nothing);
}

void heap_small_path_end(Heap& heap, size_t released) {
  constexpr uint32_t kPathsBetweenLooks = 8;
  misuse_report();
  const bool is_due = ++heap.small_path_count % kPathsBetweenLooks == 0;
  if (PA_LIKELY(!is_due && released == 0 && outside_wanted.load_relaxed() == Outside::nothing)) {
    heap.paths_since_walk++;
    return;
  }
  if (is_due) remote_age(heap, kPathsBetweenLooks);
  heap_slow_path_end(kWidePoolSize + released);
  purge_thread_look();
}

void heap_slow_path_end(size_t released) {
  misuse_report();
  if (Outside wanted = outside_wanted.load_relaxed(); PA_UNLIKELY(wanted != Outside::nothing)) outside_serve(wanted);
  if (heap_is_usable(thread_heap)) heap_shed_excess(*thread_heap);
  purge_excess(released);
  uint64_t window = accounts.retention.window_start.load_relaxed();
  uint64_t swept = swept_window.load_relaxed();
  if (PA_LIKELY(window == swept)) {
    uint64_t again = sweep_again_ms.load_relaxed();
    if (PA_LIKELY(again == 0) || os_clock_ms() < again || !sweep_again_ms.cas_weak_relaxed(again, 0)) return;
  } else if (!swept_window.cas_weak_relaxed(swept, window)) {
    return;
  }
  heap_sweep();
}

}  // namespace poolalloc
