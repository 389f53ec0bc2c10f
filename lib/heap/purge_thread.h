// A thread that gives back what a program that has fallen asleep would keep: only on request (POOLALLOC_PURGE_THREAD).
//
// It is started by the first thread that claims memory while more memory is free than is always kept. Twice a
// second it does what a slow path does at its end. When the program has fallen asleep, it gives back all but what is
// always kept; when there is nothing more to give back, it ends. So a program that never frees much stays without, and
// so does the child of a fork until it allocates.
//
// Always holds: at most one in a process; it has no heap, allocates nothing, and no signal reaches it.
// Who may use it: heap.cc, large.cc, fork.cc, and api for the option.
#pragma once

#include "base/atomic.h"
#include "base/check.h"

namespace poolalloc {

enum class PurgeThread : uint32_t {
  off,
  wanted,   // there is none now
  running,  // or being started
};
extern constinit Atomic<PurgeThread> purge_thread;

PA_COLD void purge_thread_start();

// After memory has been claimed, without a lock. Not after it was freed: libc frees with a lock of its threads' stacks.
inline void purge_thread_look() {
  if (PA_UNLIKELY(purge_thread.load_relaxed() == PurgeThread::wanted)) purge_thread_start();
}

// In the child of a fork, where it is gone.
void purge_thread_forget();

}  // namespace poolalloc
