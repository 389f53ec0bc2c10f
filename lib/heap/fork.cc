// What fork() needs of the heaps.
//
// Always holds: the forking thread holds every lock from prepare on, in their order, so that no other thread is
// inside a slow path and every chain is at rest. But for the heaps of threads that a signal handler interrupted in a
// slow path in order to fork: of the forking thread itself, which goes on afterwards on either side, and of others that
// wait for their turn, which cannot go on before; these the child never touches again, they are lost to it.
// The only lock that a signal handler can find held by its thread is its heap's (lock.h), so whoever has the other
// locks never waits for one who waits to fork. Other threads go on with their fast paths: what the
// child sees of each of their heaps is a prefix of that thread's writes, and between any two writes of
// a fast path the lists are whole, and a pool's live count at most one too high for each such thread
// (fast.h, remote.cc). So
// in the child every other thread's heap can become an orphan, and be adopted. Meanwhile locking by the
// forking thread does nothing (lock.h): other libraries' handlers may allocate in between.
//
// Who may use it: heap.h declares what the start-up code registers.
#include "chunk/region.h"
#include "heap/large.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Taken and released in a fixed order by one thread, so the order check of lock.h does not apply.
void fork_lock(Lock& lock) {
  // Milliseconds: who releases it may be interrupted before it wakes this thread, and come to wait for this fork.
  constexpr unsigned kLookAgain_ms = 1;
  uintptr_t taken = kLockFork;
  while (!lock.word.cas_acquire(0, taken)) {
    if ((lock.word.load_acquire() & kLockForking) != 0) return;  // acquire: as said in heap_fork_prepare
    lock_wait(lock, kLookAgain_ms);
    taken = kLockFork | kLockContended;  // others may sleep, too
  }
}

bool is_fork_locked(const Lock& lock) { return lock_holder(lock) == kLockFork; }

void fork_unlock(Lock& lock) {
  if (is_fork_locked(lock) && (lock.word.exchange_release(0) & kLockContended) != 0) os_wake_one(&lock.word);
}

template <typename Action>
void for_each_lock_but_the_registrys(Action action) {
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) action(heap->lock);
  action(regions_lock);
  action(purge_lock);
}

// Forks that this thread has begun inside a fork: from a signal handler or another library's handler.
constinit unsigned fork_depth = 0;

// Every heap without a thread is an orphan in the child, whatever it was on its way to be; or lost.
void orphan_all_others() {
  unsigned gone = 0;
  registry.orphans = nullptr;
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap == thread_heap || heap == &shared_heap) continue;
    gone++;
    if (!is_fork_locked(heap->lock)) {
      heap->state.store_relaxed(HeapState::lost);
      continue;
    }
    heap_collect(*heap);
    heap_retire(*heap);
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
      // Not those that interrupted code was at.
      if (is_fork_locked(slice.owner->lock)) heap_pool_settle(*slice.owner, &slice);
    }
  });
}

void release_all_locks() {
  SignalsBlocked blocked;
  forking_thread.store_relaxed(0);
  for_each_lock_but_the_registrys(fork_unlock);
  fork_unlock(registry.lock);  // last: from here on there may be new heaps
}

}  // namespace

void heap_fork_prepare() {
  if (lock_held_by_fork()) {
    fork_depth++;
    return;
  }
  // A signal handler that forks finds either no lock held by this thread for a fork, or all of them.
  SignalsBlocked blocked;
  // What its interrupted code holds this fork passes over, and others do while this thread waits for its turn.
  Lock* interrupted = heap_is_usable(thread_heap) && lock_is_mine(thread_heap->lock) ? &thread_heap->lock : nullptr;
  // Release: of what the interrupted code wrote, to those.
  if (interrupted != nullptr) interrupted->word.or_release(kLockForking);
  fork_lock(registry.lock);
  for_each_lock_but_the_registrys(fork_lock);
  if (interrupted != nullptr) interrupted->word.and_relaxed(~kLockForking);
  forking_thread.store_relaxed(os_thread_id());
}

void heap_fork_parent() {
  if (fork_depth != 0) {
    fork_depth--;
    return;
  }
  release_all_locks();
  // Who found an orphan locked meanwhile has left it to this thread.
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap->state.load_relaxed() != HeapState::owned && heap->mailbox.load_relaxed() != nullptr)
      heap_drain_orphan(*heap);
  }
  purge_excess(kWidePoolSlices);
}

void heap_fork_child() {
  // Only this thread exists here.
  orphan_all_others();
  settle_all();
  accounts_rebuild(large_mapped_slices());
  heap_fork_parent();
}

}  // namespace poolalloc
