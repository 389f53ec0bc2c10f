// The list of all heaps, and which of them wait for a thread.
//
// Always holds: a Heap is in the list of all heaps from its creation on; it is among the orphans while
// it is one, vanished or not, except on its way there and back. Whatever a fork finds under way here the
// child can do without, because each change is one write in the end (lock.h on borrowing).
// Who may use it: thread.cc, fork.cc and program_heap.cc.
#pragma once

#include <pthread.h>

#include "heap/heap.h"
#include "pool/pool.h"

namespace poolalloc {

// What of heaps is common to all threads.
struct HeapRegistry {
  Lock lock;
  Atomic<HeapGate*> all;        // Synchronization: pushed under lock with release, read with acquire
  HeapGate* orphans;            // Synchronization: lock
  Pool memory;                  // where heaps and gates live. Synchronization: lock
  HeapGate* gate;               // the next one; at a multiple of 32: no more. Synchronization: lock
  unsigned vanished;            // see heap_vanished_count. Synchronization: fork
  Atomic<unsigned> owned;       // Synchronization: written under lock
  Atomic<unsigned> owned_peak;  // Synchronization: written under lock
  pthread_key_t key;            // Synchronization: written once, under lock
  bool key_created;             // Synchronization: lock
};

extern constinit HeapRegistry registry;

// Where there is one thread: notes by which number the system knows it.
void heap_note_single_thread();

// A new heap, locked, at the front of an object of so many bytes, which are zero else; nullptr: no memory.
// registry.lock held.
Heap* heap_create(size_t size);

}  // namespace poolalloc
