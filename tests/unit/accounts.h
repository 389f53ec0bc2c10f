// What the tests of chunks, extents and heaps ask of the accounts, and the equations that these obey.
//
// Always holds: called only while no other thread claims or releases.
#pragma once

#include <gtest/gtest.h>

#include "chunk/accounts.h"
#include "chunk/extent_space.h"
#include "chunk/region.h"

namespace poolalloc::test {

inline int64_t bytes_in_use() { return accounts.in_use.load_relaxed(); }
// Those of pools.
inline int64_t slices_in_use() { return slices_size() / int64_t{kSliceSize}; }
inline int64_t dirty_free() { return accounts.dirty_free.load_relaxed(); }

inline bool is_closed(const Region& region, unsigned chunk) {
  return ((region.free_chunks.load_relaxed() >> chunk) & 1) != 0;
}

// region.h's equations, for every chunk of every region, extent.h's, and the accounts'.
inline void expect_memory_valid() {
  int64_t dirty = 0, used = 0, in_use = 0;
  size_t mapped = 0;
  regions_find([&](Region& region) {
    if (region.base == nullptr) return false;
    mapped += region_size(region);
    for (unsigned c = 0; c < region.chunk_count; c++) {
      const bool closed = is_closed(region, c);
      const bool open = chunk_is_open(address_of(chunk_address(region, c)));
      uint64_t free = region.chunks[c].free.load_relaxed();
      EXPECT_NE(open, closed);
      EXPECT_EQ(open, chunk_bit(region.open_chunks, c));
      if (closed) {
        EXPECT_EQ(free, 0u) << "a closed chunk";
        free = region.slices;
      } else {
        EXPECT_NE(free, region.slices) << "a wholly free chunk is still open";
        EXPECT_EQ(region.slices & ~free & ~region.chunks[c].dirty.load_relaxed(), 0u)
            << "a slice in use counts as clean";
        EXPECT_EQ(region.slices & ~free & ~region.chunks[c].used.load_relaxed(), 0u) << "a slice in use was never used";
      }
      in_use += bit_count(region.slices & ~free) * int64_t{kSliceSize};
      dirty += bit_count(region.chunks[c].dirty.load_relaxed() & free) * int64_t{kSliceSize};
      used += bit_count(region.chunks[c].used.load_relaxed() & free) * int64_t{kSliceSize};
      int bin = closed ? -1 : run_bin(free);
      for (int b = 0; b < int(kBinCount); b++) {
        EXPECT_EQ((region.bins[b].load_relaxed() >> c) & 1, b == bin ? 1u : 0u) << "bin " << b << " of " << bin;
      }
    }
    return false;
  });
  SharedLockGuard guard(extents_lock);
  EXPECT_TRUE(extents_are_valid());
  const ExtentTotals& extents = extent_totals();
  EXPECT_EQ(accounts.large.load_relaxed(), extents.in_use);
  EXPECT_EQ(bytes_in_use(), in_use + extents.in_use);
  EXPECT_EQ(dirty_free(), dirty + extents.dirty_free);
  EXPECT_EQ(accounts.used_free.load_relaxed(), used + extents.used_free);
  EXPECT_EQ(size_t(accounts.mapped.load_relaxed()), mapped + extent_space.mapped_size);
}

}  // namespace poolalloc::test
