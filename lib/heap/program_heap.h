// Heaps that the program makes: any thread allocates from them, any thread frees, and all of one goes at once.
//
// A program heap is a Heap (heap.h) that belongs to no thread: whoever holds its lock is its owner. Its blocks are like
// others, so plain free and realloc work on them; no thread's heap is their owner, so free comes by remote_free, which
// hands them to program_free. They are in no batch and no mailbox: when the lock is free, a block is in use or free,
// and the heap may go.
//
// A thread's *target* is the program heap that its mallocs go to, if there is one. The fast path does not know of it:
// the thread's small_lists lead to lists that stay empty meanwhile (sample.h), so every malloc takes the slow path.
//
// The equations, when the lock is free:
//   heap.program is this, and heap.gate->state is `program`; or `lost` to a forked child, which is served by the
//   thread's own heap instead, and whose frees are dropped bytes and blocks count what is in use: blocks of pools by
//   the size of their class, large blocks by their pages bytes <= limit, but that two threads may make large blocks
//   larger at the same time a parked pool of the heap is on `parked`, so every pool can be reached from here each large
//   block in use has a record on `large`, and the extent's holder is the record (chunk/extent.h)
//
// Synchronization: the heap's lock, which is held for a few instructions, or a slow path; but where said otherwise.
// Who may use it: heap and api.
#pragma once

#include "heap/heap.h"
#include "pool/pool.h"

namespace poolalloc {

// A large block of a program heap.
struct ProgramLarge {
  ProgramHeap* heap;
  void* start;  // of its extent
  size_t size;  // as it is counted
  ProgramLarge* next;
  ProgramLarge* previous;
};

struct ProgramHeap {
  static constexpr size_t kNameMost = 31;

  Heap heap;
  char name[kNameMost + 1];
  size_t limit;  // SIZE_MAX: none
  size_t bytes, blocks;
  size_t peak;  // the most bytes
  BlockPool* parked;
  ProgramLarge* large;
  ProgramLarge* unused;     // records
  Pool records;             // where they live
  bool is_visited;          // by program_heap_visit
  bool is_own;              // the library's (profiled.h). Synchronization: constant
  Atomic<size_t> profiled;  // blocks that the profile knows. Synchronization: atomic
  Atomic<uint32_t> pushed;  // threads that have made it their target, as often as they have. Synchronization: atomic
  ProgramHeap* next_spare;  // Synchronization: the registry's lock
};

// What is known of one at one instant.
struct ProgramFigures {
  size_t bytes, blocks, peak, limit;
};
ProgramFigures program_heap_figures(ProgramHeap& heap);

// An empty heap; `name` is cut to kNameMost bytes. nullptr: no memory. Thread-safe.
ProgramHeap* program_heap_make(const char* name, size_t limit);
// Frees all blocks; `discard` is called for the start of each large one's extent, without the lock, when the heap has
// forgotten it. Some pools are kept. Nobody else uses the heap.
void program_heap_release_all(ProgramHeap& heap, void (*discard)(void* start));
// The same, and pools and heap are gone. Precondition: nobody's target.
void program_heap_delete(ProgramHeap& heap, void (*discard)(void* start));

// A block of a pool, as heap_malloc_slow gives it. nullptr: no memory, or the limit.
void* program_alloc(ProgramHeap& heap, size_t size);
// Frees a block of a program heap's pool; any thread.
void program_free(BlockPool* pool, Block* block);

// Makes an extent a large block of the heap; false: no memory, or the limit, unless `is_forced`.
bool program_large_adopt(ProgramHeap& heap, void* start, bool is_forced = false);
// Whether the limit allows so much more.
bool program_fits(ProgramHeap& heap, size_t size);
// A large block that is about to go, or to change: its heap forgets it. *heap is which one that was; nullptr: none.
// False: the heap may not be used now, which has been said, and nothing is to be done.
bool program_large_forget(const void* start, ProgramHeap** heap);
// Which heap an extent's block is in; nullptr: none.
ProgramHeap* program_large_holder(const void* start);
// Whether there are any.
extern constinit Atomic<size_t> program_large_count;
inline bool program_has_large() { return PA_UNLIKELY(program_large_count.load_relaxed() != 0); }

// The program heap that a block of a pool belongs to; nullptr: none.
inline ProgramHeap* program_of(const BlockPool* pool) { return pool->owner->program; }
// What a program is to know of that.
inline ProgramHeap* program_shown(ProgramHeap* heap) { return heap != nullptr && heap->is_own ? nullptr : heap; }

// Calls visit(block, size) for each block in use, with the lock held, until it returns false; whether it never did.
// visit must not use the heap: who frees to it or allocates from it then is told so, and nothing is done.
struct ProgramVisitor {
  bool (*block)(void* context, void* block, size_t size);
  bool (*large)(void* context, void* start, size_t size);
  void* context;
};
bool program_heap_visit(ProgramHeap& heap, const ProgramVisitor& visitor);

// The equations above; for the lock holder.
bool program_heap_is_valid(const ProgramHeap& heap);

// --- The target of the calling thread ------------------------------------------------------------------------

// nullptr: the thread's own heap.
extern __thread ProgramHeap* program_target;
// Whether the target, if there is one, allows so much more.
inline bool program_allows(size_t size) {
  return PA_LIKELY(program_target == nullptr) || program_fits(*program_target, size);
}
// Makes the heap the target; false: kTargetsMost are below it already, or the thread can have no heap of its own.
bool program_push(ProgramHeap& heap);
// Makes what was the target before it again; false: there is none.
bool program_pop();
// In the child of a fork: the targets of threads that are gone are nobody's.
void program_targets_inherit();

// For one call, whose fast path is not taken.
class ProgramScope {
 public:
  explicit ProgramScope(ProgramHeap* heap) : before_(program_target) { program_target = heap; }
  ~ProgramScope() { program_target = before_; }
  ProgramScope(const ProgramScope&) = delete;
  ProgramScope& operator=(const ProgramScope&) = delete;

 private:
  ProgramHeap* before_;
};

}  // namespace poolalloc
