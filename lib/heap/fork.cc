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
// memory. Then fork_lock, one fork at a time, and all others at once, with signals blocked until the fork is over: so a
// handler that forks finds a fork that holds all, or none. A signal may have stopped who holds a heap, and who stops a
// program so waits until this thread has answered, too: so where a heap's lock does not come free soon, all are let go
// and signals are open for a moment.
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

// Locks are taken here in a way of their own, because the order of ranks does not hold: a handler that forks may have
// interrupted code that holds some.

// Whether it got the lock.
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

void fork_lock_release() {
  if ((fork_lock.word.exchange_release(0) & kLockContended) != 0) lock_wake(fork_lock);
}

constexpr unsigned kForEver = ~0u;
// How long a heap's lock is waited for with signals blocked, and how often; after that the heap is passed over.
constexpr unsigned kPatience_ms = 10, kTries = 100;

// Whether the forking thread has the heap's lock, or goes without.
bool heap_take_or_pass(Heap& heap, bool gives_up) {
  bool may_be_lost = &heap != thread_heap && &heap != &shared_heap;
  if (heap.state.load_relaxed() == HeapState::lost) return true;
  if (fork_take(heap.lock, kPatience_ms)) return true;
  bool is_forking = (heap.lock.word.load_relaxed() & kLockForking) != 0;
  return lock_is_mine(heap.lock) || (may_be_lost && (is_forking || gives_up));
}

void locks_untake() {
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) fork_untake(heap->lock);
  fork_untake(regions_lock);
  fork_untake(purge_lock);
  fork_untake(extents_lock);
  fork_untake(registry.lock);  // last: from here on there may be new heaps
}

// Whether it has taken all; or else none, because a heap's lock did not come free. fork_lock held, signals blocked.
// Nobody waits for a heap's lock while holding one of the others.
bool locks_take(bool gives_up) {
  fork_take(registry.lock, kForEver);
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (heap_take_or_pass(*heap, gives_up)) continue;
    locks_untake();
    return false;
  }
  fork_take(regions_lock, kForEver);
  fork_take(purge_lock, kForEver);
  fork_take(extents_lock, kForEver);
  return true;
}

// Flags what interrupted code of this thread holds, until it releases it; whether there is something.
bool flag_interrupted() {
  bool found = false;
  for (Heap* heap = heap_list(); heap != nullptr; heap = heap->next) {
    if (!lock_is_mine(heap->lock)) continue;
    heap->lock.word.or_relaxed(kLockForking);
    found = true;
  }
  return found;
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

// What the fork has kept from others, and the end of it.
void fork_end(void (*streams_release)()) {
  locks_untake();
  // From the release of fork_lock on they are the next fork's.
  const bool has_streams = has_streams_lock, was_interrupted = is_interrupted;
  const SignalMask signals = fork_signals;
  fork_lock_release();
  if (has_streams) streams_release();
  os_signals_restore(signals);
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
  bool interrupted = flag_interrupted();
  // libc takes it, and makes it anew in the child, only where there are threads.
  bool has_threads = os_has_threads();
  if (has_threads) os_streams_lock();
  for (unsigned tries = 0;;) {
    SignalMask signals = os_signals_block();
    if (fork_lock.word.cas_acquire(0, os_thread_id())) {
      if (locks_take(tries++ >= kTries)) {
        fork_signals = signals;
        break;
      }
      fork_lock_release();
    }
    os_signals_restore(signals);
    lock_wait(fork_lock, 1);
  }
  has_streams_lock = has_threads;
  is_interrupted = interrupted;
}

void heap_fork_parent() {
  if (fork_depth != 0) {
    fork_depth--;
    return;
  }
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
  fork_end(os_streams_lock_anew);
}

}  // namespace poolalloc
