// Laws of the word arithmetic (chunk/slice_word.h) against a model that looks at one bit at a time.
//
// Always holds: the model shares no code with what it judges; words are random, of many densities, and
// the edges (none, all, one run at either end) are always among them.
#include "chunk/slice_word.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "test_util.h"

namespace poolalloc {
namespace {

using test::Random;

bool bit(uint64_t word, unsigned i) { return i < 64 && ((word >> i) & 1) != 0; }

// Set bits in a row from `start` on.
unsigned run_length(uint64_t word, unsigned start) {
  unsigned length = 0;
  while (bit(word, start + length)) length++;
  return length;
}

std::vector<uint64_t> words() {
  std::vector<uint64_t> words{
      0, 1, kAllSlices, kAllSlices << 1, kAllSlices >> 1, uint64_t{1} << 63, 0x5555555555555555};
  for (unsigned n = 1; n < 64; n++) {
    words.push_back((uint64_t{1} << n) - 1);
    words.push_back(~((uint64_t{1} << n) - 1));
  }
  Random random(1);
  for (int i = 0; i < 3000; i++) {
    uint64_t word = random.next();
    for (uint64_t k = random.below(4); k > 0; k--) word |= random.next();
    for (uint64_t k = random.below(4); k > 0; k--) word &= random.next();
    words.push_back(word);
  }
  return words;
}

TEST(RunMask, HasExactlyTheBitsOfTheRun) {
  for (unsigned count = 1; count <= 64; count++) {
    for (unsigned start = 0; start + count <= 64; start++) {
      uint64_t mask = run_mask(start, count);
      for (unsigned i = 0; i < 64; i++)
        ASSERT_EQ(bit(mask, i), i >= start && i < start + count) << start << " " << count;
    }
  }
}

TEST(RunStarts, AreWhereEnoughBitsFollow) {
  for (uint64_t word : words()) {
    for (unsigned count = 1; count <= 64; count++) {
      uint64_t starts = run_starts(word, count);
      for (unsigned i = 0; i < 64; i++) {
        ASSERT_EQ(bit(starts, i), run_length(word, i) >= count)
            << std::hex << word << " run of " << count << " at " << i;
      }
    }
  }
}

TEST(AlignedStarts, AreTheMultiples) {
  for (unsigned alignment = 1; alignment <= 64; alignment *= 2) {
    for (unsigned i = 0; i < 64; i++) ASSERT_EQ(bit(aligned_starts(alignment), i), i % alignment == 0) << alignment;
  }
}

TEST(RunBin, IsTheLogarithmOfTheLongestRun) {
  for (uint64_t word : words()) {
    unsigned longest = 0;
    for (unsigned i = 0; i < 64; i++) longest = std::max(longest, run_length(word, i));
    ASSERT_EQ(run_bin(word), longest == 0 ? -1 : int(log2_floor(longest))) << std::hex << word;
  }
}

TEST(LowestRunLength, CountsFromTheLowestSetBit) {
  for (uint64_t word : words()) {
    if (word == 0) continue;
    unsigned lowest = 0;
    while (!bit(word, lowest)) lowest++;
    ASSERT_EQ(lowest_run_length(word), run_length(word, lowest)) << std::hex << word;
  }
}

}  // namespace
}  // namespace poolalloc
