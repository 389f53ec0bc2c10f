// What others note with a block: the hardened library, and program heaps (extent.h).
//
// Always holds: it is read and written with extents_lock held, and goes with its block.
// Who may use it: through extent.h.
#include "base/bits.h"
#include "chunk/extent_map.h"

namespace poolalloc {
namespace {

// Calls use(block) with the block that starts there, and returns what that does; else `otherwise`.
template <typename Result, typename Use>
Result with_block(const void* start, Result otherwise, Use use) {
  SharedLockGuard guard(extents_lock);
  ExtentUnit* unit = extent_unit(address_of(start));
  Extent* extent = unit != nullptr ? unit->starting.load_relaxed() : nullptr;
  bool is_block =
      extent != nullptr && extent->start.load_relaxed() == address_of(start) && extent->state == ExtentState::block;
  return is_block ? use(extent) : otherwise;
}

}  // namespace

uint64_t extent_note(const void* start) {
  return with_block(start, uint64_t{0}, [](Extent* block) { return block->note; });
}

void extent_set_note(void* start, uint64_t note) {
  with_block(start, false, [=](Extent* block) { return block->note = note, true; });
}

bool extent_change_note(void* start, uint64_t before, uint64_t after) {
  return with_block(start, false, [=](Extent* block) {
    if (block->note != before) return false;
    block->note = after;
    return true;
  });
}

void extent_holder_set(void* start, void* holder) {
  with_block(start, false, [=](Extent* block) { return block->holder = address_of(holder), true; });
}

void* extent_holder(const void* start) {
  return with_block(start, static_cast<void*>(nullptr), [](Extent* block) { return pointer_to<void>(block->holder); });
}

void* extent_holder_take(const void* start) {
  return with_block(start, static_cast<void*>(nullptr), [](Extent* block) {
    void* holder = pointer_to<void>(block->holder);
    block->holder = 0;
    return holder;
  });
}

void* extent_start_around(const void* p) {
  SharedLockGuard guard(extents_lock);
  const Extent* extent = extent_around(address_of(p));
  bool is_block = extent != nullptr && extent->state == ExtentState::block;
  return is_block ? pointer_to<void>(extent->start.load_relaxed()) : nullptr;
}

}  // namespace poolalloc
