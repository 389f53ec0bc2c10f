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

// Whether something has been written to all pages of the block, as far as a look at some of them shows.
inline bool block_is_filled(const void* block, size_t size) {
  // At different places of what may be records of one size.
  auto page_is_filled = [](uintptr_t page) {
    constexpr unsigned kWords = 8;
    size_t step = os_page_size() / kWords + sizeof(uint64_t);
    for (unsigned i = 0; i < kWords; i++) {
      if (os_word_is_set(pointer_to<void>(page + i * step % os_page_size()))) return true;
    }
    return false;
  };
  constexpr unsigned kParts = 8;
  const uintptr_t first = round_up(address_of(block), os_page_size());
  const size_t pages = (address_of(block) + size - first) / os_page_size();
  uint64_t random = address_of(block) ^ size;
  for (unsigned i = 0; i < kParts; i++) {
    size_t from = pages * i / kParts, until = pages * (i + 1) / kParts;
    random = random * 6364136223846793005u + 1442695040888963407u;
    if (from == until) continue;
    if (!page_is_filled(first + (from + (random >> 33) % (until - from)) * os_page_size())) return false;
  }
  return true;
}

// The verdicts on the last few blocks.
struct Density {
  static constexpr unsigned kLast = 4, kEnough = 3;

  Atomic<uint32_t> full;  // bit i: the last one but i was

  bool is_dense() const { return bit_count(full.load_relaxed()) >= kEnough; }
  void judge(const void* block, size_t size) {
    uint32_t verdicts = full.load_relaxed() << 1 | uint32_t{block_is_filled(block, size)};
    full.store_relaxed(verdicts % (1u << kLast));
  }
};

}  // namespace poolalloc
