// Blocks that a profile knows of (profiled.h).
//
// Who may use it: through profiled.h.
#include "heap/profiled.h"

#include "chunk/extent.h"
#include "heap/find.h"
#include "heap/program_heap.h"

namespace poolalloc {

constinit Lock profile_lock{{0}, LockRank::profile};
constinit Atomic<bool> profile_is_lost{false};
constinit Atomic<const ProfileVisitor*> profile_visitor{nullptr};

namespace {

// Serves samples that are of no other program heap. Synchronization: written before profile_visitor.
constinit ProgramHeap* own_heap = nullptr;

const ProfileVisitor& visitor() {
  // Acquire: own_heap, and what the visitor needs.
  return *profile_visitor.load_acquire();
}

void made_in(ProgramHeap& heap, const void* block, size_t size, size_t counted) {
  heap.profiled.add_relaxed(1);
  visitor().made({block, size, counted, program_shown(&heap)});
}

}  // namespace

bool profile_watch(const ProfileVisitor& visitor) {
  if (own_heap == nullptr) {
    own_heap = program_heap_make("profile", SIZE_MAX);
    if (own_heap == nullptr) return false;
    own_heap->is_own = true;
  }
  // Release: own_heap, and what the visitor needs.
  profile_visitor.store_release(&visitor);
  return true;
}

void* profiled_alloc(unsigned size_class, size_t size) {
  visitor();
  // A signal handler has interrupted this.
  if (lock_is_mine(own_heap->heap.gate->lock)) return nullptr;
  void* block = program_alloc(*own_heap, size);
  // A heap that a fork has lost is not it.
  const BlockPool* pool = block != nullptr ? pool_find(block) : nullptr;
  if (pool != nullptr && program_of(pool) == own_heap) made_in(*own_heap, block, size, class_size(size_class));
  return block;
}

void profiled_large_made(void* block, size_t size, size_t counted) {
  if (!sample_counts(counted)) return;
  SamplePause pause;
  visitor();
  if (lock_is_mine(own_heap->heap.gate->lock)) return;
  if (program_large_adopt(*own_heap, block, true)) made_in(*own_heap, block, size, counted);
}

void profiled_program_made(ProgramHeap& heap, void* block, size_t size, size_t counted) {
  if (heap.is_own || !sample_counts(counted)) return;
  SamplePause pause;
  made_in(heap, block, size, counted);
}

void* profiled_take(ProgramHeap* heap, const void* block) {
  return heap != nullptr && heap->profiled.load_relaxed() != 0 ? visitor().taken(block) : nullptr;
}

void profiled_give(ProgramHeap& heap, void* taken, bool is_gone) {
  if (taken == nullptr) return;
  if (!is_gone) return visitor().stayed(taken);
  heap.profiled.sub_relaxed(1);
  visitor().gone(taken);
}

void profiled_resized(const ProgramHeap* heap, const void* block, size_t size) {
  if (heap != nullptr && heap->profiled.load_relaxed() != 0) visitor().resized(block, size);
}

void profiled_emptied(ProgramHeap& heap) {
  if (heap.profiled.load_relaxed() == 0) return;
  visitor().emptied(heap);
  heap.profiled.store_relaxed(0);
}

}  // namespace poolalloc
