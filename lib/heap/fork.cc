// What fork() needs of the heaps.
//
// Always holds: from prepare on the forking thread holds every lock, so that no other thread is inside a slow path and
// every chain is at rest. But for some heaps, which the child never touches again, they are lost to it: whose holder is
// stopped, in a handler that forks itself (kLockForking) or elsewhere for a second, and whose lock was borrowed
// (lock.h). What its own interrupted code holds, if a signal handler forks, that code goes on with afterwards on either
// side: its heap, and where a single thread blocks no signals any lock. Other threads go on with their fast paths: what
// the child sees of each of their heaps is a prefix of that thread's writes, and between any two writes of a fast path
// the lists are whole, and a pool's live count at most one too high for each such thread (fast.h, remote.cc). So in the
// child every other thread's heap can become an orphan, and be adopted: by whoever comes by first (heap_inherit),
// because a child that writes to every heap copies them all. The forking thread may take what it holds for the fork
// (lock.h): other libraries' handlers may allocate in between.
//
// Who waits for whom: libc's list of streams comes first, because libc takes it after this, and who holds it may need
// memory. Then fork_lock, one fork at a time, and all others at once, with signals blocked until the fork is over: so a
// handler that forks finds a fork that holds all, or none. A signal may have stopped who holds a heap, and who stops a
// program so waits until this thread has answered, too: so where a heap's lock does not come free soon, all are let go
// and signals are open for a moment. libc takes other locks after this, too, and who holds one may wait for a heap: he
// borrows its lock in the end. tests/models/fork.pml is a model of this, with libc's locks, for a program that looks
// through every order of steps.
//
// Who may use it: heap.h declares what the start-up code registers.
#include "chunk/extent.h"
#include "chunk/purge.h"
#include "chunk/region.h"
#include "heap/profiled.h"
#include "heap/program_heap.h"
#include "heap/purge_thread.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Synchronization: fork_lock.
constinit unsigned fork_depth = 0;  // forks begun inside a fork, by another library's handler
constinit SignalMask fork_signals{};
constinit bool has_streams_lock = false;
constinit bool is_interrupted = false;  // code of this thread that holds a lock, by a handler that forks

// Locks are taken here in a way of their own, because the order of ranks does not hold: a handler that forks may have
// interrupted code that holds one.

// Whether the holder is stopped until this fork is over, in a signal handler that forks.
bool is_forking(const Lock& lock) { return (lock.word.load_relaxed() & kLockForking) != 0; }

// Whether it got the lock.
bool fork_take(Lock& lock, unsigned patience_ms) {
  uintptr_t taken = kLockFork;
  for (unsigned waits = 0; !lock.word.cas_acquire(0, taken); waits++) {
    is_interrupted |= lock_is_mine(lock);
    if (is_forking(lock) || lock_is_mine(lock) || waits == patience_ms) {
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

// Unless it is another's: was not taken, or is borrowed, perhaps at this instant.
void fork_untake(Lock& lock) {
  uintptr_t word = lock.word.load_relaxed();
  while ((word & ~kLockContended) == kLockFork) {
    if (!lock.word.cas_weak_release(word, 0)) continue;
    if ((word & kLockContended) != 0) lock_wake(lock);
    return;
  }
}

void fork_lock_release() {
  if ((fork_lock.word.exchange_release(0) & kLockContended) != 0) lock_wake(fork_lock);
}

constexpr unsigned kForEver = ~0u;
// How long a heap's lock is waited for with signals blocked, and how often; after that the heap is passed over.
constexpr unsigned kPatience_ms = 10, kTries = 100;

// Whether the forking thread has the heap's lock, or goes without.
bool gate_take_or_pass(HeapGate& gate, bool gives_up) {
  if (gate.state.load_relaxed() == HeapState::lost || fork_take(gate.lock, kPatience_ms)) return true;
  bool may_be_lost = gate.heap != thread_heap && gate.heap != &shared_heap;
  return lock_is_mine(gate.lock) || (may_be_lost && (is_forking(gate.lock) || gives_up));
}

// Those behind the heaps', in their order.
constinit Lock* const inner_locks[] = {&regions_lock, &purge_lock, &extents_lock, &profile_lock};

void locks_untake() {
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) fork_untake(gate->lock);
  for (Lock* lock : inner_locks) fork_untake(*lock);
  fork_untake(registry.lock);  // last: from here on there may be new heaps
}

// Whether it has taken all; or else none, because a heap's lock did not come free. fork_lock held, signals blocked.
// Nobody waits for a heap's lock while holding one of the others.
bool locks_take(bool gives_up) {
  is_interrupted = false;
  fork_take(registry.lock, kForEver);
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    if (gate_take_or_pass(*gate, gives_up)) continue;
    locks_untake();
    return false;
  }
  for (Lock* lock : inner_locks) fork_take(*lock, kForEver);
  return true;
}

// Every heap without a thread is an orphan in the child, whatever it was on its way to be; or lost.
void orphan_all_others() {
  registry.orphans = nullptr;
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    if (gate->heap == thread_heap || gate->heap == &shared_heap || lock_is_mine(gate->lock)) continue;
    bool is_lost = !is_fork_locked(gate->lock), is_owned = gate->state.load_relaxed() == HeapState::owned;
    // A thread that vanished inside a fast path leaves one live block too many, in its own heap or in one that it had
    // a batch for; while it filled a metered list, as many as that has.
    if (is_owned) registry.vanished += sample_is_used.load_relaxed() ? kMeteredMost : 1;
    if (is_lost) {
      // New threads may come to be known as the holder was.
      gate->lock.word.store_relaxed(kLockVanished);
      gate->state.store_relaxed(HeapState::lost);
      continue;
    }
    if (gate->state.load_relaxed() == HeapState::program) continue;
    if (is_owned) gate->state.store_relaxed(HeapState::vanished);
    gate->next_orphan = registry.orphans;
    registry.orphans = gate;
  }
  registry.owned.store_relaxed(heap_is_usable(thread_heap) ? 1 : 0);
  // Who has borrowed one has vanished.
  if (!is_fork_locked(extents_lock) && !lock_is_mine(extents_lock)) extents_salvage();
  if (!is_fork_locked(profile_lock) && !lock_is_mine(profile_lock)) profile_is_lost.store_relaxed(true);
  auto take_over = [](Lock& lock) {
    if (!is_fork_locked(lock) && !lock_is_mine(lock)) lock.word.store_relaxed(kLockFork);
  };
  take_over(registry.lock);
  for (Lock* lock : inner_locks) take_over(*lock);
}

// Settles the pools whose count a vanished thread brought to zero without getting to look at them.
void settle_all() {
  open_chunks_each([](Chunk* chunk) {
    for (BlockPool& slice : chunk->slices) {
      bool at_rest = slice.state == SliceState::partial || slice.state == SliceState::parked;
      if (!at_rest || slice.parked_list.count > 0) continue;
      // Not those that interrupted code was at, perhaps in the middle of releasing them.
      if (slice.owner != nullptr && is_fork_locked(slice.owner->gate->lock)) heap_pool_settle(*slice.owner, &slice);
    }
  });
}

// What the fork has kept from others, and the end of it.
void fork_end(void (*streams_release)()) {
  locks_untake();
  // From the release of fork_lock on they are the next fork's.
  const bool has_streams = has_streams_lock;
  const SignalMask signals = fork_signals;
  fork_lock_release();
  if (has_streams) streams_release();
  os_signals_restore(signals);
}

// Who found an orphan locked has left it to the fork.
void orphans_drain() {
  // The locks' release before the look at the mailbox, as in heap_drain_orphan.
  fence_seq_cst();
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) {
    bool is_without_thread = gate->state.load_relaxed() != HeapState::owned;
    if (is_without_thread && gate->heap->mailbox.load_relaxed() != nullptr) heap_drain_orphan(*gate->heap);
  }
  purge_excess(kWidePoolSize);
}

}  // namespace

void heap_fork_prepare() {
  if (lock_is_mine(fork_lock)) {
    fork_depth++;
    return;
  }
  if (heap_is_usable(thread_heap) && lock_is_mine(thread_heap->gate->lock))
    thread_heap->gate->lock.word.or_relaxed(kLockForking);
  // libc takes it, and makes it anew in the child, only where there are threads.
  bool has_threads = os_has_threads();
  if (has_threads) os_streams_lock();
  for (unsigned tries = 0;;) {
    // Also for a single thread, whose handlers may fork.
    SignalMask signals = os_signals_block_always();
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
}

void heap_fork_parent() {
  if (fork_depth != 0) {
    fork_depth--;
    return;
  }
  const bool was_interrupted = is_interrupted;
  fork_end(os_streams_unlock);
  // No second lock of a heap; the interrupted code goes on soon, and others look, too.
  if (!was_interrupted) orphans_drain();
}

void heap_fork_child() {
  // Only this thread exists here.
  if (os_is_unknown_copy()) os_copy_note();
  orphan_all_others();
  settle_all();
  accounts_rebuild();
  purge_thread_forget();
  program_targets_inherit();
  heap_note_single_thread();
  if (heap_is_usable(thread_heap)) meter_reseed(*thread_heap);
  if (fork_depth != 0) {
    fork_depth--;
    return;
  }
  fork_end(os_streams_lock_anew);
}

// The child of a bare clone, a system call of which no library learns anything: as if a fork had taken every lock that
// was free at that moment. Heaps whose locks were held are lost, what else was held is whole, or salvaged, as where a
// fork's locks were borrowed. This thread goes on with what it holds itself.
PA_COLD void heap_copy_found() {
  const SignalMask signals = os_signals_block_always();
  if (!os_is_unknown_copy()) return os_signals_restore(signals);
  fork_lock.word.store_relaxed(os_thread_id());
  auto take = [](Lock& lock) {
    if (lock.word.load_relaxed() == 0) lock.word.store_relaxed(kLockFork);
  };
  take(registry.lock);
  for (HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) take(gate->lock);
  for (Lock* lock : inner_locks) take(*lock);
  fork_depth = 0;
  fork_signals = signals;
  has_streams_lock = false;
  heap_fork_child();
}

}  // namespace poolalloc
