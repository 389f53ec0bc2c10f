// What fork() needs of the heaps.
//
// Always holds: from prepare on the forking thread holds every lock, so that no other thread is inside a slow path and
// every chain is at rest. But for two kinds of heaps, which it passes over: one that its own interrupted code is at, if
// a signal handler forks, which goes on with it afterwards on either side; and another's whose holder is stopped,
// perhaps until this fork is over, be it in a handler that forks itself (kLockForking) or elsewhere for a second: the
// child never touches that again, it is lost to it. Other threads go on with their fast paths: what the child sees of
// each of their heaps is a prefix of that thread's writes, and between any two writes of a fast path the lists are
// whole, and a pool's live count at most one too high for each such thread (fast.h, remote.cc). So in the child every
// other thread's heap can become an orphan, and be adopted. What the forking thread holds for the fork it need not take
// (lock.h): other libraries' handlers may allocate in between.
//
// Who waits for whom: libc's list of streams comes first, because libc takes it after this, and who holds it may need
// memory. Then fork_lock: one fork at a time. Then the heaps, with signals open, because a signal may have stopped who
// holds one, and who stops a program so waits until this thread has answered, too. Then, with signals blocked until the
// fork is over, the locks whose holders no signal stops.
//
// Who may use it: heap.h declares what the start-up code registers.
#include "chunk/extent.h"
#include "chunk/purge.h"
#include "chunk/region.h"
#include "heap/evict.h"
#include "heap/purge_thread.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Synchronization: fork_lock.
constinit unsigned fork_depth = 0;  // forks begun inside a fork, by a signal handler or another library's handler
constinit SignalMask fork_signals{};
constinit bool has_streams_lock = false;
constinit bool is_interrupted = false;  // code of this thread that holds a heap's lock, by a handler that forks

// Whether it got the lock. In its own way, because the order of ranks does not hold here.
bool fork_take(Lock& lock, unsigned patience_ms) {
  uintptr_t taken = kLockFork;
  for (unsigned waits = 0; !lock.word.cas_acquire(0, taken); waits++) {
    bool is_forking = (lock.word.load_relaxed() & kLockForking) != 0;
    if (is_forking || lock_is_mine(lock) || waits == patience_ms) {
      // Who released it may have woken this thread and no other.
      if (waits > 0) lock_wake(lock);
      return false;
    }
    lock_wait(lock, 1);
    taken = kLockFork | kLockContended;  // others may sleep, too
  }
  return true;
}

bool is_fork_locked(const Lock& lock) { return lock_holder(lock) == kLockFork; }

void fork_untake(Lock& lock) {
  if (is_fork_locked(lock) && (lock.word.exchange_release(0) & kLockContended) != 0) lock_wake(lock);
}

constexpr unsigned kForEver = ~0u;

// Takes the locks of all heaps down to `until`, which have been taken before. Nobody waits for these for long: who
// holds one and waits for another lock has taken that before this thread does.
void heaps_take(const Heap* until) {
  constexpr unsigned kPatience_ms = 1000;
  for (Heap* heap = heap_list(); heap != until; heap = heap->next) {
    bool may_be_lost = heap != thread_heap && heap != &shared_heap;
    bool is_taken = fork_take(heap->lock, may_be_lost ? kPatience_ms : kForEver);
    if (!is_taken && lock_is_mine(heap->lock)) is_interrupted = true;
  }
}

// Every heap without a thread is an orphan in the child, whatever it was on its way to be; or lost.
void orphan_all_others() {
  unsigned gone = 0;
  registry.orphans = nullptr;
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap == thread_heap || heap == &shared_heap || lock_is_mine(heap->lock)) continue;
    gone++;
    if (!is_fork_locked(heap->lock)) {
      // New threads may come to be known as the holder was.
      heap->lock.word.store_relaxed(kLockVanished);
      heap->state.store_relaxed(HeapState::lost);
      continue;
    }
    heap_collect(*heap);
    heap_retire(*heap);
    heap->state.store_relaxed(HeapState::orphan);
    heap_changed(*heap);
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
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) fork_untake(heap->lock);
  fork_untake(regions_lock);
  fork_untake(purge_lock);
  fork_untake(extents_lock);
  fork_untake(registry.lock);  // last: from here on there may be new heaps
  os_signals_restore(fork_signals);
}

// What the fork has kept from others, and the end of it.
void fork_end(void (*streams_release)()) {
  bool has_streams = has_streams_lock, was_interrupted = is_interrupted;
  lock_release(fork_lock);
  if (has_streams) streams_release();
  // No second lock of a heap; the interrupted code goes on soon, and others look, too.
  if (was_interrupted) return;
  // Who found an orphan locked meanwhile has left it to this thread: the locks' release before the look at the
  // mailbox, as in drain in remote.cc.
  fence_seq_cst();
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap->state.load_relaxed() != HeapState::owned && heap->mailbox.load_relaxed() != nullptr)
      heap_drain_orphan(*heap);
  }
  purge_excess(kWidePoolSize);
}

}  // namespace

void heap_fork_prepare() {
  if (lock_is_mine(fork_lock)) {
    fork_depth++;
    return;
  }
  // For those who fork meanwhile, until the interrupted code releases it.
  Heap* heap = thread_heap;
  if (heap_is_usable(heap) && lock_is_mine(heap->lock)) heap->lock.word.or_relaxed(kLockForking);
  // libc takes it, and makes it anew in the child, only where there are threads.
  bool has_threads = os_has_threads();
  if (has_threads) os_streams_lock();
  lock_acquire(fork_lock);
  has_streams_lock = has_threads;
  is_interrupted = false;
  for (const Heap* taken = nullptr;;) {
    const Heap* first = heap_list();
    heaps_take(taken);
    fork_signals = os_signals_block();
    fork_take(registry.lock, kForEver);
    if (heap_list() == first) break;
    // There are new ones.
    taken = first;
    fork_untake(registry.lock);
    os_signals_restore(fork_signals);
  }
  fork_take(regions_lock, kForEver);
  fork_take(purge_lock, kForEver);
  fork_take(extents_lock, kForEver);
}

void heap_fork_parent() {
  if (fork_depth != 0) {
    fork_depth--;
    return;
  }
  release_all_locks();
  fork_end(os_streams_unlock);
}

void heap_fork_child() {
  // Only this thread exists here.
  orphan_all_others();
  settle_all();
  accounts_rebuild();
  purge_thread_forget();
  if (fork_depth != 0) {
    fork_depth--;
    return;
  }
  release_all_locks();
  fork_end(os_streams_lock_anew);
}

}  // namespace poolalloc
