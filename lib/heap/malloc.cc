// malloc for everything that the fast path does not do.
//
// Always holds: heap.h's equations whenever heap.lock is released.
// Who may use it: through heap.h.
#include "base/probe.h"
#include "chunk/purge.h"
#include "heap/evict.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "heap/program_heap.h"
#include "heap/purge_thread.h"
#include "heap/remote.h"
#include "heap/usage.h"

namespace poolalloc {

// For a thread that may not have a heap of its own any more.
static PA_COLD void* shared_alloc(unsigned size_class) {
  Block* block;
  {
    SharedLockGuard guard(shared_heap.gate->lock);
    block = heap_pop_refilled(shared_heap, size_class);
  }
  heap_drain_orphan(shared_heap);
  purge_excess(kWidePoolSize);
  return block;
}

// A block of a class whose list is empty.
static PA_NOINLINE void* alloc_refilled(Heap& heap, unsigned size_class) {
  PA_PROBE2(refill, &heap, class_size(size_class));
  Block* block;
  size_t released;
  {
    LockGuard guard(heap.gate->lock);
    // With the lock, so that nobody takes the list away before.
    block = heap_pop_refilled(heap, size_class);
    released = heap_take_released(heap);
    PA_CHECK(heap_is_valid(heap));
  }
  usage_note(1);
  heap_small_path_end(heap, released);
  return block;
}

void* heap_alloc(Heap& heap, unsigned size_class) {
  Block* block = list_pop(heap.active[size_class], kReach);
  return PA_LIKELY(block != nullptr) ? block : alloc_refilled(heap, size_class);
}

PA_NOINLINE void* heap_malloc_slow(size_t size) {
  unsigned c = size_class_of(size);
  if (ProgramHeap* target = program_target; PA_UNLIKELY(target != nullptr)) return program_alloc(*target, size);
  Heap* heap = thread_heap;
  if (PA_UNLIKELY(!heap_is_usable(heap))) heap = heap_attach();
  if (PA_UNLIKELY(heap == nullptr)) return shared_alloc(c);
  return PA_UNLIKELY(sample_is_used.load_relaxed()) ? sample_malloc(*heap, c, size) : heap_alloc(*heap, c);
}

}  // namespace poolalloc
