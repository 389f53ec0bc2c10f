// Large blocks (large.h).
//
// Who may use it: through large.h.
#include "heap/large.h"

#include "base/bits.h"
#include "chunk/extent.h"
#include "chunk/purge.h"
#include "heap/heap.h"
#include "heap/purge_thread.h"
#include "heap/usage.h"

namespace poolalloc {
namespace {

// What is done after a block has been claimed or has changed.
void* claimed(void* block, size_t size) {
  constexpr size_t kExchangedLeast = size_t{1} << 20;
  size_t taken = extents_clean_taken(kExchangedLeast);
  if (taken != 0) purge_in_exchange(taken, MemoryKind::slices);
  if (block != nullptr) usage_note(divide_up(size, kSliceSize));
  purge_thread_look();
  return block;
}

}  // namespace

ExtentClaim large_claim(size_t size, size_t alignment, bool cleared) {
  if (!large_is_possible(size, alignment)) return {nullptr, false};
  ExtentClaim claim = extent_claim(size != 0 ? size : 1, alignment, cleared);
  claimed(claim.block, size);
  return claim;
}

void* large_alloc(size_t size, size_t alignment, bool* zeroed) {
  ExtentClaim claim = large_claim(size, alignment, zeroed != nullptr);
  if (zeroed != nullptr) *zeroed = claim.zeroed;
  return claim.block;
}

void* large_alloc_growing(size_t size, size_t old_size) {
  if (size <= kPoolBlockMax || !large_is_possible(size, 1)) return nullptr;
  return claimed(extent_claim_growing(size, old_size), size);
}

size_t large_usable_size(const void* p) { return extent_block_size(p); }

bool large_free(void* p) {
  size_t released = extent_release(p);
  if (released == 0) return false;
  heap_slow_path_end(released);
  return true;
}

void* large_resize(void* p, size_t new_size) {
  if (!large_is_possible(new_size, 1)) return nullptr;
  size_t old_size = extent_block_size(p);
  void* resized = extent_resize(p, new_size) ? p : extent_move(p, new_size);
  if (resized == nullptr) return nullptr;
  if (new_size < old_size) heap_slow_path_end(old_size - new_size);
  return claimed(resized, new_size);
}

}  // namespace poolalloc
