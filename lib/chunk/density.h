// Whether a program fills its blocks: asked of the last ones, so that the next ones may have huge pages.
//
// Judging a block reads a word of a few of its pages, through the kernel, because the program may have protected or
// unmapped them. A page counts as filled if one of a few words in it is not zero. Most of the last few blocks must have
// been full; so no more than two or three blocks have huge pages for nothing.
//
// Always holds: no page becomes resident by being judged.
// Who may use it: extents.cc for large blocks, heap for pools of blocks that may be sparse.
#pragma once

#include "base/bits.h"
#include "os/os.h"

namespace poolalloc {

// The verdicts on the last few blocks.
struct Density {
  static constexpr unsigned kLast = 4, kEnough = 3;

  uint32_t full;  // bit i: the last one but i was

  bool is_dense() const { return bit_count(full) >= kEnough; }

  // Looks at the last page of a block, and at a few between.
  void judge(const void* block, size_t size) {
    constexpr unsigned kEighths[] = {8, 7, 5, 3, 1};
    bool is_full = true;
    for (unsigned eighths : kEighths) {
      uintptr_t place = round_down(address_of(block) + size / 8 * eighths - 1, os_page_size());
      is_full = is_full && page_is_filled(place);
    }
    full = (full << 1 | unsigned{is_full}) % (1u << kLast);
  }

 private:
  // At different places of what may be records of one size.
  static bool page_is_filled(uintptr_t page) {
    constexpr unsigned kWords = 8;
    size_t step = os_page_size() / kWords + sizeof(uint64_t);
    for (unsigned i = 0; i < kWords; i++) {
      uintptr_t word = page + (i * step) % os_page_size();
      if (os_word_is_set(pointer_to<void>(word))) return true;
    }
    return false;
  }
};

}  // namespace poolalloc
