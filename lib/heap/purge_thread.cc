// The thread that gives memory back (purge_thread.h).
//
// Who may use it: through purge_thread.h.
#include "heap/purge_thread.h"

#include <errno.h>
#include <pthread.h>

#include "chunk/accounts.h"
#include "chunk/purge.h"
#include "heap/heap.h"
#include "heap/program_heap.h"
#include "os/os.h"

// In another library before glibc 2.34.
extern "C" __attribute__((weak)) decltype(pthread_create) pthread_create;

namespace poolalloc {

constinit Atomic<PurgeThread> purge_thread{PurgeThread::off};

namespace {

constexpr unsigned kPause_ms = short_if_chaos(500, 10);
// So many after which a program that has changed nothing is asleep: a budget is for one that goes on.
constexpr unsigned kAsleepPauses = 2;
// And so many with nothing to give back until the thread ends.
constexpr unsigned kIdlePauses = 10;

bool has_excess() { return accounts.dirty_free.load_relaxed() > retention_policy.floor.load_relaxed(); }

void* purge_for_a_while(void*) {
  os_signals_block_always();
  uint32_t never_changed = 0;
  int64_t free_before = -1, in_use_before = -1;
  unsigned unchanged = 0;
  for (unsigned idle = 0; idle < kIdlePauses; idle = has_excess() ? 0 : idle + 1) {
    os_wait(&never_changed, 0, kPause_ms);
    heap_slow_path_end(0);
    int64_t free = accounts.dirty_free.load_relaxed(), in_use = accounts.in_use.load_relaxed();
    unchanged = free == free_before && in_use == in_use_before ? unchanged + 1 : 0;
    if (unchanged >= kAsleepPauses) purge_idle();
    free_before = free;
    in_use_before = in_use;
  }
  purge_thread.store_release(PurgeThread::wanted);
  return nullptr;
}

}  // namespace

void purge_thread_start() {
  if (!has_excess() || &pthread_create == nullptr) return;
  // Acquire: the one before has ended its work.
  if (!purge_thread.cas_acquire(PurgeThread::wanted, PurgeThread::running)) return;
  // What libc keeps for the thread must not go with a heap of the program's; and malloc leaves errno alone.
  ProgramScope scope(nullptr);
  const int before = errno;
  pthread_attr_t attributes;
  pthread_t thread;
  bool is_started = pthread_attr_init(&attributes) == 0 &&
                    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
                    pthread_create(&thread, &attributes, purge_for_a_while, nullptr) == 0;
  errno = before;
  // Not tried again where it is not allowed.
  if (!is_started) purge_thread.store_relaxed(PurgeThread::off);
}

void purge_thread_forget() {
  if (purge_thread.load_relaxed() == PurgeThread::running) purge_thread.store_relaxed(PurgeThread::wanted);
}

}  // namespace poolalloc
