// Blocks go: by every function that frees, in their own thread and in others'; and from lane to lane.
//
// Who may use it: the table of operations (interpreter.cc), and whoever has blocks.
#include <new>

#include "world.h"

namespace fuzz {
namespace {

using Free = void (*)(const Block& block);

void free_sized(const Block& b) { entry::free_sized(b.p, b.asked); }
void free_aligned_sized(const Block& b) { entry::free_aligned_sized(b.p, b.alignment, b.asked); }
void delete_one(const Block& b) { entry::_ZdlPv(b.p); }
void delete_one_sized(const Block& b) { entry::_ZdlPvm(b.p, b.asked); }
void delete_one_nothrow(const Block& b) { entry::_ZdlPvRKSt9nothrow_t(b.p, &std::nothrow); }
void delete_one_aligned(const Block& b) { entry::_ZdlPvSt11align_val_t(b.p, b.alignment); }
void delete_one_sized_aligned(const Block& b) { entry::_ZdlPvmSt11align_val_t(b.p, b.asked, b.alignment); }
void delete_one_aligned_nothrow(const Block& b) {
  entry::_ZdlPvSt11align_val_tRKSt9nothrow_t(b.p, b.alignment, &std::nothrow);
}
void delete_array(const Block& b) { entry::_ZdaPv(b.p); }
void delete_array_sized(const Block& b) { entry::_ZdaPvm(b.p, b.asked); }
void delete_array_nothrow(const Block& b) { entry::_ZdaPvRKSt9nothrow_t(b.p, &std::nothrow); }
void delete_array_aligned(const Block& b) { entry::_ZdaPvSt11align_val_t(b.p, b.alignment); }
void delete_array_sized_aligned(const Block& b) { entry::_ZdaPvmSt11align_val_t(b.p, b.asked, b.alignment); }
void delete_array_aligned_nothrow(const Block& b) {
  entry::_ZdaPvSt11align_val_tRKSt9nothrow_t(b.p, b.alignment, &std::nothrow);
}

void to_nothing(void* p) { expect(p == nullptr, "a block of no size is not freed", p); }

// A heap that may, or may not, be the block's.
void heap_free(const Block& b) {
  const unsigned some = b.heap != 0 ? b.heap - 1u : b.stamp / 1000003 % kHeaps;
  ProgramHeapKnown& known = world.heaps[some];
  if (known.heap == nullptr) return entry::free(b.p);
  if (known.is_object && b.heap != 0 && b.stamp % 2 == 0) return known.get().deallocate(b.p, b.asked, b.alignment);
  if (known.is_object && b.heap != 0) return poolalloc::allocator<char>(known.get()).deallocate(b.p, b.asked);
  api::heap_free(known.heap, b.p);
}
void heap_realloc(const Block& b) {
  ProgramHeapKnown& known = world.heaps[b.stamp / 1000003 % kHeaps];
  if (known.heap == nullptr) return entry::free(b.p);
  to_nothing(api::heap_realloc(known.heap, b.p, 0));
}

const Free kOfMalloc[] = {
    [](const Block& b) { entry::free(b.p); },
    free_sized,
    [](const Block& b) { entry::cfree(b.p); },
    heap_free,
    [](const Block& b) { entry::__libc_free(b.p); },
    free_aligned_sized,
    [](const Block& b) { entry::__libc_cfree(b.p); },
    [](const Block& b) { to_nothing(entry::realloc(b.p, 0)); },
    [](const Block& b) { to_nothing(entry::__libc_realloc(b.p, 0)); },
    [](const Block& b) { to_nothing(entry::reallocarray(b.p, 0, 8)); },
    [](const Block& b) { b.is_cleared ? to_nothing(api::recalloc(b.p, 3, 0)) : entry::free(b.p); },
    [](const Block& b) { to_nothing(api::aligned_realloc(b.p, 64, 0)); },
    heap_realloc,
    [](const Block& b) { poolalloc::allocator<char>().deallocate(b.p, b.asked); },
};
const Free kOfOne[] = {delete_one,         delete_one_sized,         delete_one_nothrow,
                       delete_one_aligned, delete_one_sized_aligned, delete_one_aligned_nothrow};
const Free kOfArray[] = {delete_array,         delete_array_sized,         delete_array_nothrow,
                         delete_array_aligned, delete_array_sized_aligned, delete_array_aligned_nothrow};
// Where it does not matter who has made a block.
const Free kOfAny[] = {kOfMalloc[0], delete_one, kOfMalloc[3], delete_array_sized, free_sized, delete_one_aligned};

template <size_t count>
Free some(const Free (&of)[count], unsigned how) {
  return of[how % count];
}

Free way_of(const Block& block, unsigned how) {
  if (!settings.is_hardened && how % 4 == 3) return some(kOfAny, how / 4);
  switch (block.maker) {
    case Maker::new_one:
      return some(kOfOne, how);
    case Maker::new_array:
      return some(kOfArray, how);
    default:
      return some(kOfMalloc, how);
  }
}

void release_slots(Block** slots, const Step& step) {
  for (unsigned i = 0; i < step.count(); i++) {
    // Neighbours, or here and there.
    const unsigned at = step.how % 2 == 0 ? i : i * 7;
    Block*& slot = slots[(step.slot() + at) % kSlots];
    if (slot != nullptr) block_free(slot, step.variant() + i);
    slot = nullptr;
  }
}

}  // namespace

void block_free(Block* block, unsigned how) {
  const Free way = way_of(*block, how);
  block_remove(block);
  errno = kErrno;
  way(*block);
  expect(errno == kErrno, "free has changed errno", block->p, block->usable);
  shadow_give_up(block);
}

void do_release(Lane& lane, const Step& step) { release_slots(lane.slots, step); }

void do_release_others(Lane& lane, const Step& step) {
  Lane& other = world.lanes[(lane.number + 1 + step.other % (kLanes - 1)) % kLanes];
  release_slots(other.slots, step);
}

void do_hand_over(Lane& lane, const Step& step) {
  for (unsigned i = 0; i < step.count(); i++) {
    Block*& slot = lane.slots[(step.slot() + i) % kSlots];
    if (slot != nullptr) block_check(*slot);
    Block* other = world.shared[(step.other + i) % kShared].exchange(slot);
    if (other != nullptr) block_check(*other, other->usable, "a block has lost its bytes when it was handed over");
    slot = other;
  }
}

void do_check(Lane& lane, const Step& step) {
  for (unsigned i = 0; i < step.count(); i++) {
    const Block* block = lane.slots[(step.slot() + i) % kSlots];
    if (block == nullptr) continue;
    block_check(*block);
    expect(entry::malloc_usable_size(block->p) == block->usable, "a block's usable size has changed", block->p,
           block->usable);
    const poolalloc_heap* heap = block->heap != 0 ? world.heaps[block->heap - 1].heap : nullptr;
    expect(api::heap_of(block->p) == heap, "a block is in another heap", block->p, block->usable);
  }
}

}  // namespace fuzz
