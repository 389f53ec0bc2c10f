// Arithmetic on a word whose bits are free places in a row: a chunk's slices, a region's chunks.
//
// Always holds: pure functions. A "run" of n is n set bits in a row; 1 <= n <= 64.
// Who may use it: chunk.
#pragma once

#include <stdint.h>

#include "base/bits.h"

namespace poolalloc {

inline constexpr uint64_t kAllSlices = ~uint64_t{0};

// Bits [start, start + count).
constexpr uint64_t run_mask(unsigned start, unsigned count) {
  return (count >= 64 ? kAllSlices : (uint64_t{1} << count) - 1) << start;
}

// The bits at which a run of `count` starts. Doubling: after each step a set bit stands for `have`
// set bits in a row.
constexpr uint64_t run_starts(uint64_t word, unsigned count) {
  unsigned have = 1;
  while (have * 2 <= count) {
    word &= word >> have;
    have *= 2;
  }
  return have < count ? word & (word >> (count - have)) : word;
}

// The bits at multiples of `alignment`, a power of two up to 64.
constexpr uint64_t aligned_starts(unsigned alignment) {
  uint64_t word = 1;
  for (unsigned i = alignment; i < 64; i *= 2) word |= word << i;
  return word;
}

// floor(log2(length of the longest run)), -1 for none: which bin a chunk belongs to.
constexpr int run_bin(uint64_t word) {
  int bin = -1;
  for (unsigned have = 1; word != 0; have *= 2) {
    bin++;
    if (have == 64) break;
    word &= word >> have;
  }
  return bin;
}

// Length of the run that starts at the lowest set bit; word != 0.
constexpr unsigned lowest_run_length(uint64_t word) {
  uint64_t shifted = word >> lowest_bit(word);
  return shifted == kAllSlices ? 64 : lowest_bit(~shifted);
}

}  // namespace poolalloc
