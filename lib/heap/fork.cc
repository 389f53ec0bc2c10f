// What fork() needs of the heaps.
//
// Always holds: the forking thread holds every lock from prepare on, in their order, so that no other thread is
// inside a slow path and every chain is at rest. But for heaps, their own or orphans, that threads were at when a
// signal handler interrupted them in order to fork: the forking thread itself goes on with its one afterwards, on
// either side; those of others the child never touches again, they are lost to it. Where there are other threads,
// signal handlers find no other lock held by theirs (lock.h), so nobody waits for the others' holders for long. Should
// a heap's lock not come free for all that, because its holder waits for another library's handlers, which wait for
// this one, the heap is lost to the child as well. Other threads go on with their fast paths: what the child sees of
// each of their heaps is a prefix of that thread's writes, and between any two writes of a fast path the lists are
// whole, and a pool's live count at most one too high for each such thread (fast.h, remote.cc). So in the child every
// other thread's heap can become an orphan, and be adopted. Meanwhile locking by the forking thread does nothing
// (lock.h): other libraries' handlers may allocate in between.
//
// Who may use it: heap.h declares what the start-up code registers.
#include "chunk/extent.h"
#include "chunk/purge.h"
#include "chunk/region.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Taken and released in a fixed order by one thread, so the order check of lock.h does not apply.
void fork_lock(Lock& lock, unsigned patience_ms) {
  uintptr_t taken = kLockFork;
  for (unsigned waits = 0; !lock.word.cas_acquire(0, taken); waits++) {
    // Acquire: as said in flag_interrupted.
    bool is_interrupted = (lock.word.load_acquire() & kLockForking) != 0 || lock_is_mine(lock);
    if (is_interrupted || waits == patience_ms) {
      // Who released it may have woken this thread and no other.
      if (waits > 0) lock_wake(lock);
      return;
    }
    // A millisecond: who releases it may be interrupted before it wakes this thread, and come to wait for this fork.
    lock_wait(lock, 1);
    taken = kLockFork | kLockContended;  // others may sleep, too
  }
}

bool is_fork_locked(const Lock& lock) { return lock_holder(lock) == kLockFork; }

void fork_unlock(Lock& lock) {
  if (is_fork_locked(lock) && (lock.word.exchange_release(0) & kLockContended) != 0) lock_wake(lock);
}

// Flags what interrupted code of this thread holds; whether there is something.
bool flag_interrupted() {
  bool found = false;
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (!lock_is_mine(heap->lock)) continue;
    // Release: what that code wrote, to those who find the flag.
    heap->lock.word.or_release(kLockForking);
    found = true;
  }
  return found;
}

// Forks that this thread has begun inside a fork: from a signal handler or another library's handler.
constinit unsigned fork_depth = 0;

// Every heap without a thread is an orphan in the child, whatever it was on its way to be; or lost.
void orphan_all_others() {
  unsigned gone = 0;
  registry.orphans = nullptr;
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    bool is_others = !is_fork_locked(heap->lock) && !lock_is_mine(heap->lock);
    // Who holds the lock of this thread's heap was about to see that it is no orphan any more (drain in remote.cc).
    if (heap == thread_heap && is_others) heap->lock.word.store_relaxed(0);
    if (heap == thread_heap || heap == &shared_heap) continue;
    gone++;
    if (is_fork_locked(heap->lock)) {
      heap_collect(*heap);
      heap_retire(*heap);
    } else if (is_others) {
      // New threads may come to be known as the holder was.
      heap->lock.word.store_relaxed(kLockVanished | kLockForking);
      heap->state.store_relaxed(HeapState::lost);
      continue;
    }
    heap->state.store_relaxed(HeapState::orphan);
    heap->batches_busy.store_relaxed(0);
    heap->next_orphan = registry.orphans;
    registry.orphans = heap;
  }
  // A thread that vanished inside a fast path leaves one live block too many, in its own heap or in one
  // that it had a batch for.
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) heap->inherited += gone;
  for (Heap* heap = registry.orphans; heap != nullptr; heap = heap->next_orphan) remote_flush(*heap);
  registry.owned.store_relaxed(heap_is_usable(thread_heap) ? 1 : 0);
}

// Settles the pools whose count a vanished thread brought to zero without getting to look at them.
void settle_all() {
  open_chunks_each([](Chunk* chunk) {
    for (BlockPool& slice : chunk->slices) {
      bool at_rest = slice.state == SliceState::partial || slice.state == SliceState::parked;
      if (!at_rest || slice.parked_list.count > 0) continue;
      // Not those that interrupted code was at, perhaps in the middle of releasing them.
      if (slice.owner != nullptr && is_fork_locked(slice.owner->lock)) heap_pool_settle(*slice.owner, &slice);
    }
  });
}

void release_all_locks() {
  forking_thread.store_relaxed(0);
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) fork_unlock(heap->lock);
  fork_unlock(regions_lock);
  fork_unlock(purge_lock);
  fork_unlock(extents_lock);
  fork_unlock(registry.lock);  // last: from here on there may be new heaps
}

}  // namespace

void heap_fork_prepare() {
  if (lock_held_by_fork()) {
    fork_depth++;
    return;
  }
  // A signal handler that forks finds either no lock held by this thread for a fork, or all of them.
  SignalsBlocked blocked(true);
  // What its interrupted code holds this fork passes over, and so do others until that code has released it.
  flag_interrupted();
  constexpr unsigned kForEver = ~0u;
  constexpr unsigned kPatience_ms = 1000;
  fork_lock(registry.lock, kForEver);
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    bool may_be_lost = heap != thread_heap && heap != &shared_heap;
    fork_lock(heap->lock, may_be_lost ? kPatience_ms : kForEver);
  }
  fork_lock(regions_lock, kForEver);
  fork_lock(purge_lock, kForEver);
  fork_lock(extents_lock, kForEver);
  forking_thread.store_relaxed(os_thread_id());
}

void heap_fork_parent() {
  if (fork_depth != 0) {
    fork_depth--;
    return;
  }
  SignalsBlocked blocked(true);
  release_all_locks();
  // No second lock of a heap; the interrupted code goes on soon, and others look, too.
  if (flag_interrupted()) return;
  // Who found an orphan locked meanwhile has left it to this thread: the locks' release before the look at the
  // mailbox, as in drain in remote.cc.
  fence_seq_cst();
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap->state.load_relaxed() != HeapState::owned && heap->mailbox.load_relaxed() != nullptr)
      heap_drain_orphan(*heap);
  }
  purge_excess(kWidePoolSize);
}

void heap_fork_child() {
  // Only this thread exists here.
  SignalsBlocked blocked(true);
  orphan_all_others();
  settle_all();
  accounts_rebuild();
  heap_fork_parent();
}

}  // namespace poolalloc
