// A lock for slow paths: one word, sleeps in the kernel when it must, survives fork.
//
// Always holds:
//   word == 0 free, else the holding thread's identity, and flags; so that a signal handler knows at every
//   instruction what the code that it interrupted holds
//   a thread holds locks in the order of LockRank only (checked with -Dchecks)
//   a heap's lock may be held with signals open, so that a signal can stop its holder; nobody waits for it with signals
//   blocked, but a fork for some milliseconds (fork.cc): who stops a program's threads by signals waits until all have
//   answered
//   every other lock is held with signals blocked (SharedLockGuard), where there are other threads; a single thread
//   makes no such system call, which a sandbox may forbid (both checked with -Dchecks)
//   the thread that forks holds every lock from the prepare handler to the parent and child
//   handlers, but for heaps that are in use all the while (fork.cc); what it holds so it may acquire, and gives
//   back to the fork, so that other libraries' fork handlers may allocate
//   who has waited for long for a lock that a fork holds may borrow it: the fork may be waiting for him, at a lock of
//   libc's that he holds, and the child can do without what he changes
//   in a copy of the process that came about without fork, the locks of threads that are not there are dealt with by
//   the first thread that waits for one (lock_of_copy)
// Who may use it: the os layer and above.
#pragma once

#include "base/atomic.h"
#include "base/check.h"
#include "os/os.h"

namespace poolalloc {

// In the order in which they may be taken while another is held.
enum class LockRank : uint8_t { fork, heaps, program_heap, heap, shared_heap, regions, purge, extents, profile };
// Whether a signal can stop who holds it.
inline constexpr bool is_stoppable(LockRank rank) { return rank == LockRank::heap || rank == LockRank::program_heap; }
// Whether the child of a fork can do without what it protects, or finds it whole at every instant.
inline constexpr bool is_borrowable(LockRank rank) { return rank != LockRank::fork && rank != LockRank::shared_heap; }

struct Lock {
  Atomic<uintptr_t> word;  // Synchronization: atomic
  LockRank rank;           // constant
};

// Flags in the word; what identifies threads are addresses of aligned objects.
inline constexpr uintptr_t kLockContended = 1;  // somebody may sleep
inline constexpr uintptr_t kLockForking = 2;    // a signal handler has interrupted the holder, and forks
// Holders that are no threads: the fork that goes on, told from the code that it interrupted; who vanished in one.
inline constexpr uintptr_t kLockFork = 4;
inline constexpr uintptr_t kLockVanished = 8;

// Held by the thread that is inside fork(), which takes it outside the order (fork.cc).
extern constinit Lock fork_lock;

// What makes a copy of the process usable (fork.cc). Synchronization: set once at start-up.
extern constinit Atomic<void (*)()> lock_of_copy;

inline bool lock_try_acquire(Lock& lock);
PA_NOINLINE void lock_acquire_slow(Lock& lock);
// Passes a lock from one holder to another; false: the first one does not hold it. Inside fork().
PA_NOINLINE bool lock_pass(Lock& lock, uintptr_t from, uintptr_t to);
// Wakes one who sleeps.
PA_NOINLINE void lock_wake(Lock& lock);
void lock_check_order(LockRank rank, bool acquire);
void lock_check_wait(LockRank rank);

// Who holds a lock; 0: nobody.
inline uintptr_t lock_holder(const Lock& lock) { return lock.word.load_relaxed() & ~(kLockContended | kLockForking); }
inline bool lock_is_mine(const Lock& lock) { return lock_holder(lock) == os_thread_id(); }

// Whether this thread is inside fork() and holds the lock for that.
inline bool lock_held_by_fork(const Lock& lock) { return lock_holder(lock) == kLockFork && lock_is_mine(fork_lock); }

// Acquire: what the last holder wrote before its release is visible from here.
inline bool lock_try_acquire(Lock& lock) {
  if (lock.word.load_relaxed() != 0 || !lock.word.cas_acquire(0, os_thread_id()))
    return PA_UNLIKELY(lock_held_by_fork(lock)) && lock_pass(lock, kLockFork, os_thread_id());
  if (kCheckLevel > 0 && !lock_is_mine(fork_lock)) lock_check_order(lock.rank, true);
  return true;
}

inline void lock_acquire(Lock& lock) {
  if (kCheckLevel > 0) lock_check_wait(lock.rank);
  if (PA_UNLIKELY(!lock_try_acquire(lock))) lock_acquire_slow(lock);
}

// Release: publishes what this holder wrote to the next one.
inline void lock_release(Lock& lock) {
  if (PA_UNLIKELY(lock_is_mine(fork_lock))) {
    lock_pass(lock, os_thread_id(), kLockFork);
    return;
  }
  if (kCheckLevel > 0) lock_check_order(lock.rank, false);
  if (PA_UNLIKELY((lock.word.exchange_release(0) & kLockContended) != 0)) lock_wake(lock);
}

// A step of waiting: says that somebody may sleep, and sleeps until the lock may be free, or for some milliseconds.
void lock_wait(Lock& lock, unsigned at_most_ms);

class LockGuard {
 public:
  explicit LockGuard(Lock& lock) : lock_(lock) { lock_acquire(lock_); }
  ~LockGuard() { lock_release(lock_); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

// For locks that are held with signals blocked.
class SharedLockGuard {
 public:
  explicit SharedLockGuard(Lock& lock) : guard_(lock) {}

 private:
  SignalsBlocked blocked_;
  LockGuard guard_;
};

}  // namespace poolalloc
