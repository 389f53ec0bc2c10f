// What operations share (world.h).
//
// Who may use it: through world.h.
#include "world.h"

namespace fuzz {

bool may_refuse(unsigned heap, size_t size, size_t alignment) {
  if (world.may_refuse) return true;
  if (heap == 0 || world.heaps[heap - 1].limit == 0) return false;
  // Others may have taken what there was; and the hardened library's blocks have more around them.
  if (world.is_together || world.is_lost || settings.is_hardened) return true;
  const ProgramHeapKnown& known = world.heaps[heap - 1];
  if (alignment > 65536) alignment = 4096;
  const size_t rounded = ((size != 0 ? size : 1) + alignment - 1) / alignment * alignment;
  return size_t(known.bytes.load()) + api::good_size(rounded) > known.limit;
}

void refused(unsigned heap, size_t size, size_t alignment, int error) {
  expect(error == ENOMEM, "a request was refused without ENOMEM", nullptr, size);
  expect(may_refuse(heap, size, alignment), "a request was refused", nullptr, size);
}

void heap_count(unsigned heap, int64_t blocks, int64_t bytes) {
  if (heap == 0) return;
  ProgramHeapKnown& known = world.heaps[heap - 1];
  known.blocks += blocks;
  known.bytes += bytes;
  // Threads that make large blocks larger at the same time may exceed it.
  const bool is_above = known.limit != 0 && bytes > 0 && size_t(known.bytes.load()) > known.limit;
  expect(!is_above || world.is_together || world.is_lost, "a heap is above its limit", nullptr,
         size_t(known.bytes.load()));
}

Block* block_add(void* p, const Block& about) {
  const poolalloc_heap* heap = about.heap != 0 ? world.heaps[about.heap - 1].heap : nullptr;
  expect(api::heap_of(p) == heap, "a block comes from another heap", p, about.asked);
  Block* block = shadow_add(p, about);
  heap_count(block->heap, 1, int64_t(block->usable));
  return block;
}

void block_remove(Block* block) {
  block_check(*block);
  shadow_take_out(block);
  heap_count(block->heap, -1, -int64_t(block->usable));
}

}  // namespace fuzz
