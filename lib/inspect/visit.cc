// Every block of the process (visit.h).
//
// Who may use it: through visit.h.
#include "inspect/visit.h"

#include <string.h>

#include "chunk/extent_map.h"
#include "heap/guard.h"
#include "heap/pool_walk.h"
#include "heap/program_heap.h"

namespace poolalloc {
namespace {

// A pool's blocks, as they were at one moment. On a stack that may be small it is the largest thing.
struct PoolBlocks {
  Area area;
  uint64_t live[kSliceSize / kBlockAlignment / 64];

  void set_live(size_t index) { live[index / 64] |= uint64_t{1} << index % 64; }
  bool is_live(size_t index) const { return (live[index / 64] >> index % 64 & 1) != 0; }
};

// Takes the blocks of a list of the pool out of those that are live, and counts them; false: it leads out of the pool,
// or on for ever.
PA_RACY bool take_listed(const BlockPool& pool, const PoolSeen& seen, const Block* head, PoolBlocks& blocks,
                         int64_t* count) {
  const uintptr_t start = address_of(slice_address(&pool)), end = address_of(list_end(pool));
  const size_t block_size = class_size(seen.size_class);
  for (uintptr_t at = address_of(head); at != end; (*count)++) {
    const size_t index = (at - start) / block_size;
    if (*count == seen.handed_out || at < start || (at - start) % block_size != 0 || index >= size_t(seen.handed_out))
      return false;
    blocks.live[index / 64] &= ~(uint64_t{1} << index % 64);
    at ^= *pointer_to<const volatile uintptr_t>(at) ^ link_secret;
  }
  return true;
}

// The same of all that is free. Who evicts may have left an active pool's list aside (heap/evict.h): its blocks are
// free if they are missing on the list in force.
PA_RACY bool take_free(const BlockPool& pool, const PoolSeen& seen, PoolBlocks& blocks) {
  int64_t count = 0;
  if (!take_listed(pool, seen, pool.list->head, blocks, &count)) return false;
  const PoolChain& chain = seen.owner->chains[seen.size_class];
  const Block* seized = chain.active == &pool ? chain.seized : nullptr;
  const bool are_missing = count < seen.handed_out - seen.hidden - seen.live;
  return seized == nullptr || !are_missing || take_listed(pool, seen, seized, blocks, &count);
}

// Notes which blocks are live. What its owner does meanwhile can make the list look broken; then it is read again.
PA_RACY void look_at_blocks(const BlockPool& pool, const PoolSeen& seen, PoolBlocks& blocks) {
  char* const start = slice_address(&pool);
  const HoleSet* holes = &chunk_of(&pool)->info.holes[slice_index(&pool)];
  const size_t block_size = class_size(seen.size_class);
  for (int tries = 3; tries > 0; tries--) {
    memset(blocks.live, 0, sizeof blocks.live);
    for (size_t index = 0; index < size_t(seen.handed_out); index++) {
      const size_t offset = index * block_size;
      if ((holes[offset / kSliceSize] & hole_bit(offset)) == 0) blocks.set_live(index);
    }
    if (take_free(pool, seen, blocks)) break;
  }
  blocks.area = {start, seen.slices * kSliceSize, block_size, size_t(seen.capacity), seen.owner->program};
}

// Of the slice of an open chunk; false: no pool starts there.
PA_RACY bool look_at_slice(Region& region, unsigned chunk, unsigned slice, PoolBlocks& blocks) {
  SharedLockGuard held(regions_lock);
  if (region.base == nullptr || chunk >= region.chunk_count || !chunk_bit(region.open_chunks, chunk)) return false;
  const BlockPool& pool = chunk_of(chunk_address(region, chunk))->slices[slice];
  PoolSeen seen;
  if (!pool_look(pool, &seen)) return false;
  look_at_blocks(pool, seen, blocks);
  return true;
}

bool pools_visit(AreaVisit visit, void* context) {
  PoolBlocks blocks;
  return regions_find([&](Region& region) {
    for (unsigned i = 0; i < kChunksPerRegion * kSlicesPerChunk; i++) {
      const unsigned chunk = i / kSlicesPerChunk;
      if (!chunk_bit(region.open_chunks, chunk)) {
        i |= kSlicesPerChunk - 1;
        continue;
      }
      if (!look_at_slice(region, chunk, i % kSlicesPerChunk, blocks)) continue;
      const Area& area = blocks.area;
      if (visit(area, nullptr, false, context)) return true;
      for (size_t index = 0; index < area.block_count; index++) {
        void* block = byte_offset<char>(area.start, index * area.block_size);
        if (visit(area, block, blocks.is_live(index), context)) return true;
      }
    }
    return false;
  });
}

// The first large block from an address on; false: there is none.
bool look_at_large(uintptr_t from, Area* area) {
  SharedLockGuard held(extents_lock);
  const Extent* extent = extent_from(from);
  while (extent != nullptr && extent->state != ExtentState::block)
    extent = extent_from(extent->start.load_relaxed() + extent->size);
  if (extent == nullptr) return false;
  const auto* large = pointer_to<const ProgramLarge>(extent->holder);
  ProgramHeap* heap = large != nullptr ? large->heap : nullptr;
  *area = {pointer_to<void>(extent->start.load_relaxed()), extent->size, extent->block_size, 1, heap};
  return true;
}

bool large_visit(AreaVisit visit, void* context) {
  Area area;
  for (uintptr_t at = 0; look_at_large(at, &area); at = address_of(area.start) + area.size) {
    if (visit(area, nullptr, false, context) || visit(area, area.start, true, context)) return true;
  }
  return false;
}

bool guarded_visit(AreaVisit visit, void* context) {
  return guard_blocks_find([&](const GuardRecord& record) {
    void* block = pointer_to<void>(record.address);
    const Area area{pointer_to<void>(round_down(record.address, os_page_size())), os_page_size(), record.size, 1,
                    nullptr};
    return visit(area, nullptr, false, context) || visit(area, block, true, context);
  });
}

}  // namespace

PA_COLD bool areas_visit(AreaVisit visit, void* context) {
  return pools_visit(visit, context) || large_visit(visit, context) || guarded_visit(visit, context);
}

}  // namespace poolalloc
