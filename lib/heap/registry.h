// The list of all heaps, and which of them wait for a thread.
//
// Always holds: a Heap is in the list of all heaps from its creation on; it is among the orphans while
// its state is orphan, except on its way there and back.
// Who may use it: thread.cc and fork.cc.
#pragma once

#include <pthread.h>

#include "heap/heap.h"
#include "pool/pool.h"

namespace poolalloc {

// What of heaps is common to all threads.
struct HeapRegistry {
  Lock lock;
  Atomic<Heap*> all;            // Synchronization: pushed under lock with release, read with acquire
  Heap* orphans;                // Synchronization: lock
  Pool memory;                  // where Heaps live. Synchronization: lock
  Atomic<unsigned> owned;       // Synchronization: written under lock
  Atomic<unsigned> owned_peak;  // Synchronization: written under lock
  pthread_key_t key;            // Synchronization: written once, under lock
  bool key_created;             // Synchronization: lock
};

extern constinit HeapRegistry registry;

}  // namespace poolalloc
