// Blocks that change their size, where they are or elsewhere.
//
// Always holds: what a request that was refused leaves is looked at as well. Who may use it: the table of operations
// (interpreter.cc).
#include "world.h"

namespace fuzz {
namespace {

struct Resize {
  Block old;
  size_t size;
  size_t alignment;  // for those that take one
  unsigned target;   // of heap_realloc
};

struct Way {
  void* (*call)(const Resize& r);
  bool is_recalloc, is_aligned, is_expand, moves_to_heap;
};

const Way kWays[] = {
    {[](const Resize& r) { return entry::realloc(r.old.p, r.size); }, false, false, false, false},
    {[](const Resize& r) { return api::recalloc(r.old.p, 1, r.size); }, true, false, false, false},
    {[](const Resize& r) { return api::aligned_realloc(r.old.p, r.alignment, r.size); }, false, true, false, false},
    {[](const Resize& r) { return api::expand(r.old.p, r.size); }, false, false, true, false},
    {[](const Resize& r) { return entry::reallocarray(r.old.p, 1, r.size); }, false, false, false, false},
    {[](const Resize& r) { return entry::__libc_realloc(r.old.p, r.size); }, false, false, false, false},
    {[](const Resize& r) { return api::heap_realloc(world.heaps[r.target].heap, r.old.p, r.size); }, false, false,
     false, true},
};

// What a block grows or shrinks to: any size, or about its own.
size_t next_size(const Block& block, const Step& step, unsigned i) {
  size_t size = size_of(step, i);
  const size_t own = block.usable;
  switch (step.amount >> 28 & 7) {
    case 1:
      size = own + size % 64;
      break;
    case 2:
      size = own > 64 ? own - size % 64 : own + 1;
      break;
    case 3:
      size = own / 2 + 1;
      break;
    case 4:
      size = own * 2 + size % 16;
      break;
    case 5:
      size = own + own / 8 + 1;
      break;
    default:
      break;
  }
  return size == 0 || size > size_t{32} << 20 ? 1 + size % 1000 : size;
}

void refused_resize(Block* block, const Resize& r, const Way& way, unsigned heap) {
  shadow_put_back(block);
  block_check(*block, block->usable, "a request that was refused has changed the block");
  expect(entry::malloc_usable_size(block->p) == block->usable,
         "a request that was refused has changed the block's size", block->p, block->usable);
  if (way.is_expand) return expect(errno == kErrno, "expand has changed errno", block->p, r.size);
  const bool may_move = way.is_aligned || way.moves_to_heap || settings.is_hardened;
  expect(r.size > block->usable || may_move, "realloc to less was refused", block->p, r.size);
  refused(heap, r.size, way.is_aligned ? r.alignment : 16, errno);
}

// The same block, or the one that has come in its place.
Block* resize(Block* block, const Way& way, const Step& step, unsigned i) {
  Resize r{*block, next_size(*block, step, i), alignment_of(step), step.other % kHeaps};
  if (r.size > r.old.usable) {
    const size_t more = affordable(r.size - r.old.usable);
    r.size = r.old.usable + more;
  }
  if (r.size == 0) r.size = 1;
  const unsigned heap = way.moves_to_heap ? r.target + 1 : r.old.heap;
  block_check(*block);
  shadow_take_out(block);
  errno = kErrno;
  char* p = static_cast<char*>(way.call(r));
  if (p == nullptr) return refused_resize(block, r, way, heap), block;
  expect(errno == kErrno, "a resize that was met has changed errno", p, r.size);
  expect(!way.is_expand || p == r.old.p, "expand has moved a block", p, r.size);
  const size_t kept = r.size < r.old.usable ? r.size : r.old.usable;
  Block moved = r.old;
  moved.p = p;
  block_check(moved, kept, "a block has lost its bytes when its size was changed");
  if (way.is_recalloc)
    zeros_check(p + kept, entry::malloc_usable_size(p) - kept, "recalloc has not cleared what is new");
  heap_count(r.old.heap, -1, -int64_t(r.old.usable));
  shadow_give_up(block);
  const bool stays = way.is_expand && p == r.old.p;
  Block about{.asked = r.size, .maker = r.old.maker, .heap = uint8_t(heap)};
  about.alignment = way.is_aligned ? r.alignment : stays ? r.old.alignment : 16;
  // A block of a pool that stays may happen to have any alignment.
  about.is_large = p == r.old.p ? r.old.is_large : is_large_for(about.alignment);
  about.is_cleared = way.is_recalloc;
  return block_add(p, about);
}

}  // namespace

void do_resize(Lane& lane, const Step& step) {
  for (unsigned i = 0; i < step.count(); i++) {
    Block*& slot = lane.slots[(step.slot() + i) % kSlots];
    if (slot == nullptr) continue;
    const Way* way = &kWays[step.how % 16 < 10 ? 0 : step.how % 16 - 9];
    if (way->moves_to_heap && world.heaps[step.other % kHeaps].heap == nullptr) way = kWays;
    if (way->is_recalloc && !slot->is_cleared) way = kWays;
    // The hardened library's realloc is for malloc's blocks; and it has another idea of what was asked for.
    if (settings.is_hardened && slot->maker != Maker::malloc) continue;
    slot = resize(slot, *way, step, i);
  }
}

}  // namespace fuzz
