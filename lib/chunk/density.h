// Whether a program fills its blocks: asked of some, so that the next ones may have huge pages, or used memory.
//
// Judging a block reads a few words of eight of its pages, through the kernel, because the program may have protected
// or unmapped them. A page counts as filled if one of the words is not zero. The pages are anywhere in each eighth, so
// that a program that touches one page in so many is seen through. Most of the last few blocks must have been full; so
// no more than two or three are taken for what they are not.
//
// Always holds: no page becomes resident by being judged; any memory may be asked about.
// Synchronization: atomic; two threads that note a verdict at once may lose one of the two.
// Who may use it: extents.cc for large blocks, heap for pools of blocks that may be sparse.
#pragma once

#include "base/atomic.h"
#include "base/bits.h"
#include "os/os.h"

namespace poolalloc {

// Whether somebody uses the block meanwhile: then the kernel alone may read it.
enum class BlockUse : uint8_t { may_be_used, is_callers };

// Whether a page holds anything but zeros: in a few words at different places of what may be records of one size, or in
// any word, if nobody can be changing what the program may do with the page.
inline bool page_is_filled(uintptr_t page, BlockUse use) {
  constexpr unsigned kWords = 8;
  size_t step = os_page_size() / kWords + sizeof(uint64_t);
  for (unsigned i = 0; i < kWords; i++) {
    WordState state = os_word_look(pointer_to<void>(page + i * step % os_page_size()));
    if (state != WordState::zero) return state == WordState::set;
    if (use == BlockUse::is_callers) break;
  }
  if (use != BlockUse::is_callers) return false;
  const uint64_t* words = pointer_to<const uint64_t>(page);
  uint64_t any = 0;
  for (size_t i = 0; i < os_page_size() / sizeof(uint64_t); i++) any |= words[i];
  return any != 0;
}

// Whether something has been written to all pages of the block, as far as a look at some of them shows.
inline bool block_is_filled(const void* block, size_t size, BlockUse use) {
  constexpr unsigned kParts = 8;
  const uintptr_t first = round_up(address_of(block), os_page_size());
  const size_t pages = (address_of(block) + size - first) / os_page_size();
  uint64_t random = address_of(block) ^ size;
  for (unsigned i = 0; i < kParts; i++) {
    size_t from = pages * i / kParts, until = pages * (i + 1) / kParts;
    random = random * 6364136223846793005u + 1442695040888963407u;
    if (from == until) continue;
    uintptr_t page = first + (from + (random >> 33) % (until - from)) * os_page_size();
    if (!page_is_filled(page, use)) return false;
  }
  return true;
}

// The verdicts on the last few blocks.
struct Density {
  static constexpr unsigned kLast = 4, kEnough = 3;

  Atomic<uint32_t> full;     // bit i: the last one but i was
  Atomic<uint32_t> skipped;  // blocks since the last verdict

  bool is_dense() const { return bit_count(full.load_relaxed()) >= kEnough; }
  // Whether a verdict is due: of each block until the last ones were all alike, then of one in a few.
  bool is_due() {
    constexpr uint32_t kSkipped = 16, kAll = (1u << kLast) - 1;
    uint32_t verdicts = full.load_relaxed(), count = skipped.load_relaxed();
    skipped.store_relaxed(count + 1);
    return (verdicts != kAll && verdicts != 0) || count % kSkipped == 0;
  }
  void judge(const void* block, size_t size, BlockUse use) {
    uint32_t verdicts = full.load_relaxed() << 1 | uint32_t{block_is_filled(block, size, use)};
    full.store_relaxed(verdicts % (1u << kLast));
  }
};

}  // namespace poolalloc
