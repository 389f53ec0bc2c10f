// A lock for slow paths: one word, sleeps in the kernel when it must, survives fork.
//
// Always holds:
//   word == 0 free, 1 held, 2 held and somebody may sleep
//   holder == the holding thread's identity while held (read only to recognise oneself)
//   a thread holds locks in the order of LockRank only (checked with -Dchecks)
//   the thread that forks holds every lock from the prepare handler to the parent and child
//   handlers; meanwhile acquire and release by that thread do nothing, so that other libraries'
//   fork handlers may allocate
// Who may use it: the os layer and above.
#pragma once

#include "base/atomic.h"
#include "base/check.h"
#include "os/os.h"

namespace poolalloc {

// In the order in which they may be taken while another is held.
enum class LockRank : uint8_t { heaps, heap, regions, purge };

struct Lock {
  Atomic<uint32_t> word;     // Synchronization: atomic
  LockRank rank;             // constant
  Atomic<uintptr_t> holder;  // Synchronization: written by the holder
};

// The thread that is inside fork(), or 0. Synchronization: written while that thread holds all locks.
extern constinit Atomic<uintptr_t> forking_thread;

inline bool lock_try_acquire(Lock& lock);
PA_NOINLINE void lock_acquire_slow(Lock& lock);
PA_NOINLINE void lock_release_slow(Lock& lock);
void lock_check_order(LockRank rank, bool acquire);

// True when this thread is inside fork() and so holds every lock already.
inline bool lock_held_by_fork() {
  uintptr_t forking = forking_thread.load_relaxed();
  return PA_UNLIKELY(forking != 0) && forking == os_thread_id();
}

// Acquire: what the last holder wrote before its release is visible from here.
inline bool lock_try_acquire(Lock& lock) {
  if (lock_held_by_fork()) return true;
  if (lock.word.load_relaxed() != 0 || !lock.word.cas_acquire(0, 1)) return false;
  lock.holder.store_relaxed(os_thread_id());
  if (kCheckLevel > 0) lock_check_order(lock.rank, true);
  return true;
}

inline void lock_acquire(Lock& lock) {
  if (PA_UNLIKELY(!lock_try_acquire(lock))) lock_acquire_slow(lock);
}

// Release: publishes what this holder wrote to the next one.
inline void lock_release(Lock& lock) {
  if (lock_held_by_fork()) return;
  if (kCheckLevel > 0) lock_check_order(lock.rank, false);
  lock.holder.store_relaxed(0);
  if (PA_UNLIKELY(lock.word.exchange_release(0) == 2)) lock_release_slow(lock);
}

class LockGuard {
 public:
  explicit LockGuard(Lock& lock) : lock_(lock) { lock_acquire(lock_); }
  ~LockGuard() { lock_release(lock_); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace poolalloc
