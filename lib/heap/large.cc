// Large blocks (large.h).
//
// Who may use it: through large.h.
#include "heap/large.h"

#include "base/bits.h"
#include "base/probe.h"
#include "chunk/extent.h"
#include "chunk/purge.h"
#include "heap/heap.h"
#include "heap/profiled.h"
#include "heap/program_heap.h"
#include "heap/purge_thread.h"
#include "heap/usage.h"

namespace poolalloc {
namespace {

// What is done after an extent has been claimed, or has changed.
void claimed(size_t size) {
  constexpr size_t kExchangedLeast = size_t{1} << 20;
  size_t taken = extents_clean_taken(kExchangedLeast);
  if (taken != 0) purge_in_exchange(taken, MemoryKind::slices);
  usage_note(divide_up(size, kSliceSize));
  purge_thread_look();
}

// A block that the profile may want. `heap`: the program heap that it is in.
void made(void* block, size_t size, ProgramHeap* heap) {
  const size_t counted = round_up(size, os_page_size());
  heap == nullptr ? profiled_large_made(block, size, counted) : profiled_program_made(*heap, block, size, counted);
}

// A fresh block, if there is one, which is the thread's target's from here on. nullptr: it cannot be.
void* claimed_for_target(void* block, size_t size) {
  if (block == nullptr) return nullptr;
  PA_PROBE2(large_alloc, block, size);
  claimed(size);
  ProgramHeap* target = program_target;
  if (PA_UNLIKELY(target != nullptr) && !program_large_adopt(*target, block)) {
    extent_release(block);
    return nullptr;
  }
  if (profile_is_known()) made(block, size, target);
  return block;
}

}  // namespace

ExtentClaim large_claim(size_t size, size_t alignment, bool cleared, size_t offset) {
  if (!large_is_possible(size, alignment) || !program_allows(size)) return {nullptr, false};
  ExtentClaim claim = extent_claim(size != 0 ? size : 1, alignment, cleared, offset);
  claim.block = claimed_for_target(claim.block, size);
  return claim;
}

void* large_alloc(size_t size, size_t alignment, bool* zeroed) {
  ExtentClaim claim = large_claim(size, alignment, zeroed != nullptr);
  if (zeroed != nullptr) *zeroed = claim.zeroed;
  return claim.block;
}

void* large_alloc_growing(size_t size, size_t old_size) {
  if (size <= kPoolBlockMax || !large_is_possible(size, 1) || !program_allows(size)) return nullptr;
  return claimed_for_target(extent_claim_growing(size, old_size), size);
}

size_t large_usable_size(const void* p) { return extent_block_size(p); }

bool large_free(void* p) {
  ProgramHeap* holder = nullptr;
  if (program_has_large() && !program_large_forget(p, &holder)) return true;
  if (PA_UNLIKELY(holder != nullptr)) profiled_give(*holder, profiled_take(holder, p), true);
  size_t released = extent_release(p);
  if (released == 0) return false;
  PA_PROBE2(large_free, p, released);
  heap_slow_path_end(released);
  return true;
}

// Changes the size of a block, also for the program heap that it is in. Where it is then; nullptr: nothing has changed.
template <typename Resize>
static void* resized_for_holder(void* p, size_t new_size, Resize resize) {
  if (!large_is_possible(new_size, 1)) return nullptr;
  const size_t old_size = extent_block_size(p);
  ProgramHeap* holder = nullptr;
  if (program_has_large() && !program_large_forget(p, &holder)) return nullptr;
  void* const taken = profiled_take(holder, p);
  void* resized = holder == nullptr || program_fits(*holder, new_size) ? resize() : nullptr;
  if (PA_UNLIKELY(holder != nullptr)) {
    // It was there before, and there is a record for it. What the profile's own heap had is sampled anew.
    ProgramHeap* const keeps = resized == nullptr ? holder : program_shown(holder);
    if (keeps != nullptr) program_large_adopt(*keeps, resized != nullptr ? resized : p, true);
    profiled_give(*holder, taken, resized != nullptr);
  }
  if (resized == nullptr) return nullptr;
  if (new_size < old_size) heap_slow_path_end(old_size - new_size);
  claimed(new_size);
  if (profile_is_known()) made(resized, new_size, program_shown(holder));
  return resized;
}

bool large_expand(void* p, size_t new_size) {
  return resized_for_holder(p, new_size, [=] { return extent_resize(p, new_size) ? p : nullptr; }) != nullptr;
}

void* large_resize(void* p, size_t new_size) {
  return resized_for_holder(p, new_size, [=] { return extent_resize(p, new_size) ? p : extent_move(p, new_size); });
}

}  // namespace poolalloc
