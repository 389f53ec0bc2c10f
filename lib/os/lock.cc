// The contended half of Lock (lock.h), and the check of the lock order.
#include "os/lock.h"

#include "os/message.h"

namespace poolalloc {

constinit Lock fork_lock{{0}, LockRank::fork};
constinit Atomic<void (*)()> lock_of_copy{nullptr};

namespace {

// Longer than any holder needs unless it makes a system call or has lost its processor.
constexpr int kSpins = 100;

// A waker may be refused the system call that wakes: then the sleeper looks by itself.
constexpr unsigned kSleepMost_ms = 100;

// As long as a fork takes at most, of a process with some gigabytes.
constexpr uint64_t kForkPatience_ms = 200;

// From a fork that has kept it for long; whether it did.
bool lock_borrow(Lock& lock, uint64_t since_ms) {
  uintptr_t word = lock.word.load_relaxed();
  if (!is_borrowable(lock.rank) || (word & ~kLockContended) != kLockFork) return false;
  // Acquire: the fork took it from the last holder, whose writes are visible.
  return os_clock_ms() - since_ms >= kForkPatience_ms && lock.word.cas_acquire(word, os_thread_id() | kLockContended);
}

// Ranks held by this thread, one bit each; only written in checking builds.
__thread uint32_t held_ranks;

}  // namespace

void lock_check_order(LockRank rank, bool acquire) {
  uint32_t bit = uint32_t{1} << unsigned(rank);
  if (acquire) {
    PA_ASSERT(held_ranks < bit);
    PA_ASSERT(is_stoppable(rank) || os_signals_are_blocked());
    held_ranks |= bit;
  } else {
    PA_ASSERT((held_ranks & bit) != 0);
    held_ranks &= ~bit;
  }
}

void lock_check_wait(LockRank rank) {
  // What is left free during a fork nobody else takes.
  PA_ASSERT(!is_stoppable(rank) || !os_signals_are_blocked() || lock_is_mine(fork_lock));
}

bool lock_pass(Lock& lock, uintptr_t from, uintptr_t to) {
  uintptr_t word = lock.word.load_relaxed();
  do {
    if ((word & ~kLockContended) != from) return false;
    // Acquire from one who has borrowed it before, release to one who borrows it next.
  } while (!lock.word.cas_weak_acq_rel(word, to | (word & kLockContended)));
  return true;
}

void lock_acquire_slow(Lock& lock) {
  if (lock_is_mine(lock)) {
    // Only a signal handler can get here: it interrupted this thread while it held the lock.
    Message message;
    message.text("malloc or free called from a signal handler that interrupted malloc; this cannot work").send();
    os_abort();
  }
  for (int i = 0; i < kSpins; i++) {
    spin_pause();
    if (lock_try_acquire(lock)) return;
  }
  // Acquire as in lock_try_acquire. This holder counts as contended: a needless wake-up at its release is cheaper
  // than a lost one.
  uint64_t since_ms = os_clock_ms();
  while (!lock.word.cas_acquire(0, os_thread_id() | kLockContended)) {
    if (lock_holder(lock) != kLockFork) since_ms = os_clock_ms();
    if (lock_borrow(lock, since_ms)) break;
    if (PA_UNLIKELY(os_is_unknown_copy())) {
      if (auto make_usable = lock_of_copy.load_relaxed()) make_usable();
    }
    lock_wait(lock, kSleepMost_ms);
  }
  if (kCheckLevel > 0) lock_check_order(lock.rank, true);
}

void lock_wait(Lock& lock, unsigned at_most_ms) {
  uintptr_t word = lock.word.load_relaxed();
  do {
    if (word == 0) return;
  } while ((word & kLockContended) == 0 && !lock.word.cas_weak_relaxed(word, word | kLockContended));
  os_wait(&lock.word, uint32_t(word | kLockContended), at_most_ms);
}

void lock_wake(Lock& lock) { os_wake_one(&lock.word); }

}  // namespace poolalloc
