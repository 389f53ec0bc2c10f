// The thread heap: one chain of pools per size class, owned by one thread.
//
// The equations, for each size class c:
//   active[c] is the list in force of chains[c].active, if there is one; else it is at no_block.end, and counts 0
//   chains[c].first and on are the pools in state partial, the last woken first; each has a block on its
//       list, in a hole or one to bump, and at least one live block unless it was evicted
//   parked pools are on no chain; they come back by being freed into
//   every live block of the heap's pools is held by a user, or is in some heap's batches, or in this
//       heap's mailbox, or on one of its metered lists (sample.h)
//
// Synchronization: a heap in state `owned` is used by its thread alone, without a lock on the fast
// paths; the slow paths (chains, pool states, mailbox collection) also hold `lock`, so that whoever
// holds it finds chains at rest: fork, and the heap's drainer when it is an orphan. A heap in another
// state is used by whoever holds its lock. Other threads touch only the mailbox, but for what
// heap_reap (remote.h) and heap_evict (evict.h) may do with the lock.
// Who may use it: heap and api.
#pragma once

#include "chunk/chunk.h"
#include "chunk/density.h"
#include "heap/sample.h"
#include "heap/size_class.h"
#include "heap/spares.h"
#include "os/lock.h"

namespace poolalloc {

struct PoolChain {
  BlockPool* active;
  BlockPool* first;
  Block* seized;        // the list of the active pool, where one who evicts had to leave it (evict.h)
  unsigned pool_count;  // pools of the class, parked ones included
  uint16_t patience;    // how often the active pool may run empty before it is released. Synchronization: owner only
  uint16_t spared;      // how often it has. Synchronization: owner only
  uint8_t barren;       // pools in a row that could not make holes; see holes.cc
  bool is_clean;        // what the active pool has never handed out must be faulted in, for all that is known
};

// Blocks of one pool of another heap that this thread has freed and not sent yet; see remote.h.
struct RemoteBatch {
  BlockPool* pool;  // nullptr: unused
  Block* head;
  Block* last;     // the block freed first, which carries the message
  uint16_t limit;  // how many blocks it takes
  uint16_t room;   // and how many more; at 0 it is sent
  uint16_t seen;   // room when the batch was last visited; limit before that
};
// Blocks between head and last, both included. The room has wrapped around where a batch that was full went on before
// it was sent: in a forked child, whose thread had vanished there, or in a signal handler.
inline unsigned batch_count(const RemoteBatch& batch) { return uint16_t(batch.limit - batch.room); }

inline constexpr unsigned kBatchCount = 128;

// Batches that had to make room for others and wait to be sent together; all to one heap. See remote.h.
struct RemoteOutbox {
  Block* newest;   // message; nullptr: none. The others are below it
  Block* oldest;   // message
  uint32_t count;  // messages
  uint32_t size;   // bytes of blocks in them
  uint32_t seen;   // count when it was last looked at
};

enum class HeapState : uint32_t {
  empty,     // heap_ended
  owned,     // a thread uses it
  orphan,    // its thread has ended; waits to be adopted
  vanished,  // as its thread left it, which a fork has not brought along; whoever comes first makes it an orphan
  shared,    // serves the threads that may not have one of their own any more
  program,   // serves who asks for it (program_heap.h)
  lost,      // to this process, which was forked while the heap was being changed; locked for ever
};

// By (size + 15) / 16: the list that serves the size. A heap's own, so that malloc reaches it from one register; or,
// where sampling is on, the metered ones.
struct SmallLists {
  FreeList* of[kSmallMax / 16 + 1];
};

struct Heap;
struct ProgramHeap;
// How deep a thread's targets nest (program_heap.h).
inline constexpr unsigned kTargetsMost = 8;

// What others look at of every heap. Apart from the heaps, close together: a fork writes to all of them, and each page
// that it writes to is copied.
struct alignas(kCacheLine) HeapGate {
  Lock lock;
  Atomic<HeapState> state;  // Synchronization: written under lock
  Heap* heap;               // Synchronization: constant once published
  HeapGate* next;           // in the list of all heaps. Synchronization: constant once published
  HeapGate* next_orphan;    // Synchronization: the registry's lock
};

struct alignas(kCacheLine) Heap {
  FreeList active[kClassCount];  // Synchronization: owner only, but see evict.h
  SmallLists small_lists;        // Synchronization: lock, to write; constant but for sampling

  PoolChain chains[kClassCount];       // Synchronization: lock
  RemoteBatch batches[kBatchCount];    // Synchronization: while a BatchesHeld lives (evict.h)
  unsigned batch_cursor;               // Synchronization: as batches
  unsigned batch_count;                // batches in use; in a forked child perhaps more. Synchronization: as batches
  RemoteOutbox outbox;                 // Synchronization: as batches
  uint32_t sent[kClassCount];          // blocks sent home, in all; may wrap around. Synchronization: as batches
  uint64_t sent_messages;              // Synchronization: as batches
  uint32_t taken[kClassCount];         // blocks of this heap that came from others, the same. Synchronization: lock
  uint64_t patience_from;              // the window of time that patience is from. Synchronization: owner only
  unsigned spared_count;               // of all classes; see heap_pool_trap. Synchronization: owner only
  uint64_t walked_window;              // when the chains were last walked; see holes.h. Synchronization: owner only
  uint32_t paths_since_walk;           // slow paths. Synchronization: owner only
  uint32_t small_path_count;           // see heap_small_path_end. Synchronization: owner only
  uint32_t walk_patience;              // how many make a walk due. Synchronization: owner only
  int64_t loose;                       // this heap's part of accounts.pool_loose. Synchronization: lock
  uint32_t filled;                     // bytes of holes, not yet noted as needed again. Synchronization: lock
  Atomic<uint32_t> batches_busy;       // the owner is at its batches
  Atomic<uint32_t> batches_seized;     // or somebody else may be. Synchronization: written under lock
  uint64_t seized_ms;                  // when they, and lists, were last seized. Synchronization: lock
  Spares spares;                       // Synchronization: lock
  uint32_t slice_count;                // of its pools. Synchronization: lock
  size_t released;                     // bytes of pools, since somebody has looked. Synchronization: lock
  int64_t untouched_change;            // of accounts.untouched, not yet added to it. Synchronization: lock
  Density density;                     // of blocks in wide pools. Synchronization: lock
  bool has_evicted;                    // there may be pools without a live block on chains. Synchronization: lock
  bool is_trimmed;                     // an orphan since it has changed. Synchronization: lock
  uint64_t changed_ms;                 // when an orphan has, or became one. Synchronization: lock
  ProgramHeap* program;                // which this is a part of; nullptr: a thread's. Synchronization: constant
  ProgramHeap* targets[kTargetsMost];  // the last one is in force. Synchronization: owner only
  unsigned target_count;
  uint32_t thread_number;  // of the thread that has it, or had it last; 0: not known. Synchronization: owner only

  // Messages from other threads, newest first; see remote.h. Synchronization: atomic.
  alignas(kCacheLine) Atomic<Block*> mailbox;
  Atomic<uint32_t> mail_count;     // messages since the mailbox was last taken, about
  Atomic<uint32_t> mail_patience;  // how many of them make a sender look at them; see heap_reap
  HeapGate* gate;                  // Synchronization: constant once published

  alignas(kCacheLine) Meter meter;  // for sampling, if that is on; see sample.h
};

// The calling thread's heap. nullptr before its first use: also before ld.so has filled in a program's
// thread-local variables, when malloc may be called already. &heap_ended after the thread's TLS
// destructor has let go of its heap: a heap whose lists stay empty, so every malloc falls into the slow path.
extern __thread Heap* thread_heap;
extern constinit Heap heap_ended;

// Leads small_lists to lists of the heap's, one for each class. Its owner, who may be in malloc, finds where they lead
// only behind what is there.
inline void small_lists_lead_to(Heap& heap, FreeList* lists) {
  for (unsigned i = 0; i <= kSmallMax / 16; i++)
    __atomic_store_n(&heap.small_lists.of[i], &lists[kSizeClasses.small[i]], __ATOMIC_RELEASE);
}

// Whether it is the heap's own lists that malloc pops from: there is no sampling, and no target.
inline bool small_lists_are_active(const Heap& heap) {
  return __atomic_load_n(&heap.small_lists.of[0], __ATOMIC_RELAXED) == heap.active;
}

// Another thread that switches sampling on may change it (sample.h).
PA_INLINE FreeList& small_list(const Heap& heap, size_t size) {
#if defined(__SANITIZE_THREAD__)
  return *__atomic_load_n(&heap.small_lists.of[(size + 15) / 16], __ATOMIC_RELAXED);
#else
  return *heap.small_lists.of[(size + 15) / 16];
#endif
}

inline bool heap_is_usable(const Heap* heap) { return heap != nullptr && heap != &heap_ended; }

// --- Slow paths -----------------------------------------------------------------------------------

// malloc without its fast path: up to kPoolBlockMax bytes, any heap. nullptr when there is no memory.
void* heap_malloc_slow(size_t size);
// free without its fast path: any pointer at all; `caller` is who was given it.
enum class Caller : uint8_t;
void heap_free_slow(void* p, Caller caller);
// The same where p is in the slice of an open chunk, whose descriptor is not of a pool of the thread's own heap.
void heap_free_elsewhere(void* p, Caller caller, BlockPool* pool, Heap* own);
// The count of a pool of this thread's heap has reached zero: it is empty, or must wake.
void heap_pool_trap(BlockPool* pool);

// --- For the rest of the heap layer; the heap's lock is held -----------------------------------------

// A block of the class for the owner, which nobody counts; takes the lock itself if it must. nullptr: no memory.
void* heap_alloc(Heap& heap, unsigned size_class);
// The same with the lock held: where active[size_class] has run out, by recycle, bump, advance or grow.
Block* heap_pop_refilled(Heap& heap, unsigned size_class);
// A pool's count has become zero or less; releases or wakes it. The pool may be gone afterwards.
void heap_pool_settle(Heap& heap, BlockPool* pool);
// Releases a pool, and its slices, that is not active and whose live blocks are all on their way to the heap, or are to
// go with it.
void heap_pool_vacate(Heap& heap, BlockPool* pool);
// All blocks of the active pool are gone at once: it is as if it were new. For a program heap.
void heap_active_restart(Heap& heap, unsigned size_class);
// Releases the active pool, if there is one, which has no live block.
void heap_active_release(Heap& heap, unsigned size_class);
// For a heap that loses its thread: takes the active pools out of use, releases pools without a live block, and
// takes what walks have found (holes.h) out of the accounts. The owner, or for a heap without one.
void heap_retire(Heap& heap);
// Makes the heap of a vanished thread an orphan; its batches stay.
void heap_inherit(Heap& heap);
// Makes an active pool without a live block, whose list has been taken away, a partial one that
// starts anew, its memory given back. The owner may be about to look at it because its count reached zero.
void heap_pool_evict(Heap& heap, unsigned size_class);
// Bytes of pools that were released since the last call.
inline size_t heap_take_released(Heap& heap) {
  const size_t released = heap.released;
  heap.released = 0;
  return released;
}
// Accounts what untouched_change says.
void heap_report_untouched(Heap& heap);
// Releases pools without a live block, and gives back free pages of the others, parked ones apart. The owner, or
// for a heap without one.
void heap_trim(Heap& heap);

// Every equation above and every pool's own; for the owner or the lock holder of an idle heap.
bool heap_is_valid(const Heap& heap);

// --- Without a lock ------------------------------------------------------------------------------------

// At the end of every slow path that may have released so many bytes: gives memory back if too much is free,
// and looks after threads that sleep when it is time to.
void heap_slow_path_end(size_t released);
// The same for the owner, after a slow path that is taken often: most release nothing, so one in some looks after what
// is free, and each that has released something, because so much has come from other threads that pools ran empty.
void heap_small_path_end(Heap& heap, size_t released);

// --- Threads (thread.cc) -----------------------------------------------------------------------------

// Gives the calling thread a heap: an orphan or a new one. nullptr when it has let go of one already or
// there is no memory. Sets thread_heap.
Heap* heap_attach();
// The calling thread lets go of its heap, if it has one, as at its end.
void heap_let_go();
// What is to be called when a thread that has a heap ends, while it has it still; nullptr: nothing.
// Synchronization: atomic; each who sets it sets the same.
extern constinit Atomic<void (*)()> heap_before_detach;
// Called once by the library's constructor, before a second thread exists.
void heap_start();
// The heap for threads that may not have one; always in state shared.
extern constinit Heap shared_heap;

// Every heap that ever was, newest first, the shared one last.
HeapGate* heap_list();
// Threads that have vanished in forks: how many live blocks too many a pool may count.
unsigned heap_vanished_count();
// Most heaps that belonged to a thread at one time, and how many do now.
unsigned heap_thread_peak();
unsigned heap_thread_count();

// The three steps of fork() around the kernel's part; see fork.cc.
void heap_fork_prepare();
void heap_fork_parent();
void heap_fork_child();
// Makes the process usable if it is a copy that did not come about by fork.
void heap_copy_found();

}  // namespace poolalloc
