// What the tests of chunks and heaps ask of the account of slices, and the equations that it obeys.
//
// Always holds: called only while no other thread claims or releases.
#pragma once

#include <gtest/gtest.h>

#include "chunk/region.h"

namespace poolalloc::test {

inline int64_t slices_in_use() { return region_table.slices_in_use.load_relaxed(); }
inline int64_t dirty_free() { return region_table.dirty_free.load_relaxed(); }

inline bool is_closed(const Region& region, unsigned chunk) {
  return ((region.free_chunks.load_relaxed() >> chunk) & 1) != 0;
}

// region.h's equations, for every chunk of every region.
inline void expect_regions_valid() {
  int64_t dirty = 0, used = 0;
  uint64_t mapped = 0;
  regions_find([&](Region& region) {
    if (region.base == nullptr) return false;
    mapped += region.chunk_count;
    for (unsigned c = 0; c < region.chunk_count; c++) {
      const bool closed = is_closed(region, c);
      const bool owned = chunk_bit_test(owned_chunks, address_of(chunk_address(region, c)));
      uint64_t free = region.chunks[c].free.load_relaxed();
      if (closed) {
        EXPECT_EQ(free, 0u) << "a closed chunk";
        EXPECT_FALSE(owned) << "a closed chunk";
        free = kAllSlices;
      } else if (free != 0) {
        EXPECT_TRUE(owned) << "an open chunk";
        EXPECT_NE(free, kAllSlices) << "a wholly free chunk is still open";
        EXPECT_EQ(~free & ~region.chunks[c].dirty.load_relaxed(), 0u) << "a slice in use counts as clean";
        EXPECT_EQ(~free & ~region.chunks[c].used.load_relaxed(), 0u) << "a slice in use was never used";
      }
      dirty += bit_count(region.chunks[c].dirty.load_relaxed() & free);
      used += bit_count(region.chunks[c].used.load_relaxed() & free);
      int bin = closed ? -1 : run_bin(free);
      for (int b = 0; b < int(kBinCount); b++) {
        EXPECT_EQ((region.bins[b].load_relaxed() >> c) & 1, b == bin ? 1u : 0u) << "bin " << b << " of " << bin;
      }
    }
    return false;
  });
  EXPECT_EQ(dirty_free(), dirty);
  EXPECT_EQ(region_table.used_free.load_relaxed(), used);
  EXPECT_EQ(region_table.mapped_chunks.load_relaxed(), mapped);
}

}  // namespace poolalloc::test
