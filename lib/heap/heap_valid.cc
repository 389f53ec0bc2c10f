// Whether a heap's equations hold (heap.h, program_heap.h).
//
// Who may use it: through these.
#include "heap/holes.h"
#include "heap/program_heap.h"

namespace poolalloc {

static bool spares_are_valid(const Heap& heap) {
  const Spares& spares = heap.spares;
  unsigned slices = 0;
  for (unsigned i = 0; i < Spares::kLengths; i++) {
    unsigned runs = 0;
    for (const BlockPool* run = spares.first[i]; run != nullptr; run = run->next, runs++) {
      if (run->state != SliceState::free || run->owner != nullptr || run->reciprocal != 0) return false;
    }
    if (runs != spares.count[i]) return false;
    slices += runs * (i + 1);
  }
  return slices == spares.slices && spares_fit(spares, heap.slice_count);
}

bool heap_is_valid(const Heap& heap) {
  if (!spares_are_valid(heap)) return false;
  const unsigned excess = heap_vanished_count();
  auto pool_is_valid = [&](const BlockPool* pool, unsigned c, SliceState state) {
    return pool->owner == &heap && pool->size_class == c && pool->state == state &&
           block_pool_is_valid(*pool, slice_address(pool), class_size(c), pool_holes(pool), excess);
  };
  for (unsigned c = 0; c < kClassCount; c++) {
    const PoolChain& chain = heap.chains[c];
    const FreeList& list = heap.active[c];
    // nullptr: in the shared heap, before it is used.
    bool is_nowhere = list.head == &no_block.end || list.head == nullptr;
    if (chain.active == nullptr && (!is_nowhere || list.count > excess)) return false;
    if (chain.active != nullptr && chain.seized == nullptr && !pool_is_valid(chain.active, c, SliceState::active))
      return false;
    const BlockPool* before = nullptr;
    for (const BlockPool* each = chain.first; each != nullptr; before = each, each = each->next) {
      if (each->prev != before || !pool_is_valid(each, c, SliceState::partial)) return false;
      if (pool_is_full(*each)) return false;
    }
  }
  return meter_is_valid(heap);
}

bool program_heap_is_valid(const ProgramHeap& heap) {
  if (heap.heap.program != &heap || !heap_is_valid(heap.heap)) return false;
  size_t bytes = 0;
  auto add = [&](const BlockPool& pool) { bytes += size_t(block_pool_live(pool)) * class_size(pool.size_class); };
  for (const PoolChain& chain : heap.heap.chains) {
    if (chain.active != nullptr) add(*chain.active);
    for (const BlockPool* pool = chain.first; pool != nullptr; pool = pool->next) add(*pool);
  }
  for (const BlockPool* pool = heap.parked; pool != nullptr; pool = pool->next) {
    if (pool->owner != &heap.heap || pool->state != SliceState::parked) return false;
    add(*pool);
  }
  for (const ProgramLarge* each = heap.large; each != nullptr; each = each->next) {
    if (each->heap != &heap || (each->next != nullptr && each->next->previous != each)) return false;
    bytes += each->size;
  }
  // What is on a list that was given up is free, and counts as live in its pool.
  return heap.bytes <= bytes;
}

}  // namespace poolalloc
