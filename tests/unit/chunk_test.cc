// Laws of chunks and slices (chunk/chunk.h, chunk/region.h) against a model that knows which slices it
// holds.
//
// Always holds: each test gives back all that it claimed; region.h's equations hold whenever no other
// thread runs.
#include "chunk/chunk.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "accounts.h"
#include "chunk/purge.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::dirty_free;
using test::expect_memory_valid;
using test::Random;
using test::slices_in_use;

struct Slices {
  BlockPool* first;
  unsigned count;
};

char* run_start(const Slices& run) { return slice_address(run.first); }
size_t run_size(const Slices& run) { return slices_span(run.first, run.count); }

// Every slice of a run is touched at its start, so that memory stays small.
void mark(const Slices& run, unsigned char value) {
  for (unsigned i = 0; i < run.count; i++) memset(slice_address(run.first) + i * kSliceSize, value, 64);
}
bool is_marked(const Slices& run, unsigned char value) {
  for (unsigned i = 0; i < run.count; i++) {
    if (!test::bytes_all(slice_address(run.first) + i * kSliceSize, 64, value)) return false;
  }
  return true;
}

unsigned random_count(Random& random) { return 1 + unsigned(random.below(random.below(4) == 0 ? kWidePoolSlices : 3)); }

class ChunkTest : public testing::Test {
 protected:
  void SetUp() override { in_use_before = slices_in_use(); }
  void TearDown() override {
    EXPECT_EQ(slices_in_use(), in_use_before);
    expect_memory_valid();
  }
  int64_t in_use_before;
};

TEST_F(ChunkTest, SlicesAreClaimedAndReleasedLikeInTheModel) {
  struct Held {
    Slices run;
    unsigned char value;
  };
  Random random(4);
  std::vector<Held> held;
  std::map<char*, unsigned> owned;  // slice -> times held
  int64_t count_held = 0;
  auto hold = [&](char* slice) { ASSERT_EQ(owned[slice]++, 0u) << "a slice is handed out twice"; };
  auto let_go = [&](const Slices& run) {
    for (unsigned i = 0; i < run.count; i++) owned[slice_address(run.first) + i * kSliceSize]--;
    count_held -= run.count;
    slices_release(run.first, run.count);
  };
  for (int step = 0; step < 30000 && !HasFatalFailure(); step++) {
    unsigned char value = static_cast<unsigned char>(1 + random.below(255));
    if (random.below(10) < 5 && count_held < 3000) {
      unsigned count = random_count(random);
      Slices run{slices_acquire(count, random.below(2) == 0), count};
      ASSERT_NE(run.first, nullptr);
      unsigned start = slice_index(run.first);
      ASSERT_LE(start + count, kSlicesPerChunk);
      ASSERT_TRUE(count == 1 || start != 0) << "a run has the header's slice";
      for (unsigned i = 0; i < count; i++) {
        hold(slice_address(run.first) + i * kSliceSize);
        ASSERT_EQ(run.first[i].state, SliceState::free);
        ASSERT_EQ(run.first[i].owner, nullptr);
        ASSERT_EQ(run.first[i].reciprocal, 0u);
      }
      mark(run, value);
      held.push_back({run, value});
      count_held += count;
    } else if (!held.empty()) {
      size_t index = random.below(held.size());
      ASSERT_TRUE(is_marked(held[index].run, held[index].value)) << "somebody else wrote into the run";
      let_go(held[index].run);
      held[index] = held.back();
      held.pop_back();
    }
    ASSERT_EQ(slices_in_use(), in_use_before + count_held);
    if (step % 50 == 0) expect_memory_valid();
    if (step % 2000 == 0) purge_all();
  }
  for (const Held& each : held) {
    EXPECT_TRUE(is_marked(each.run, each.value));
    slices_release(each.run.first, each.run.count);
  }
}

TEST_F(ChunkTest, AChunkClosesWhenItsLastSliceIsReleased) {
  std::vector<BlockPool*> slices;
  for (unsigned i = 0; i < 3 * kSlicesPerChunk; i++) slices.push_back(slices_acquire(1, true));
  std::map<Chunk*, int> chunks;
  for (BlockPool* each : slices) {
    Chunk* chunk = chunk_of(each);
    chunks[chunk]++;
    EXPECT_TRUE(chunk_is_open(address_of(chunk)));
  }
  for (BlockPool* each : slices) {
    Chunk* chunk = chunk_of(each);
    slices_release(each, 1);
    EXPECT_EQ(chunk_is_open(address_of(chunk)), --chunks[chunk] > 0);
  }
}

TEST_F(ChunkTest, FullChunksAreFilledBeforeOthersAreOpened) {
  purge_all();
  std::vector<BlockPool*> slices;
  std::map<Chunk*, int> chunks;
  for (unsigned i = 0; i < 8 * kSlicesPerChunk; i++) {
    slices.push_back(slices_acquire(1, true));
    chunks[chunk_of(slices.back())]++;
  }
  int not_full = 0;
  for (auto& [chunk, count] : chunks) not_full += unsigned(count) < bit_count(chunk->info.region->slices);
  EXPECT_LE(not_full, 2) << "one of small pages, and one of huge ones";
  for (BlockPool* each : slices) slices_release(each, 1);
}

TEST_F(ChunkTest, PurgingLeavesNothingDirtyAndEverythingFreeReadsZero) {
  // One slice of each chunk stays in use, so that open chunks are purged too.
  std::vector<Slices> runs;
  for (int i = 0; i < 60; i++) {
    unsigned count = i % 8 == 0 ? 1 : kWidePoolSlices;
    runs.push_back({slices_acquire(count, true), count});
    memset(run_start(runs.back()), 0x5a, run_size(runs.back()));
  }
  std::vector<Slices> kept;
  for (size_t i = 0; i < runs.size(); i++) {
    if (i % 7 == 3) {
      kept.push_back(runs[i]);
    } else {
      slices_release(runs[i].first, runs[i].count);
    }
  }
  purge_all();
  EXPECT_EQ(dirty_free(), 0);
  expect_memory_valid();
  for (const Slices& run : kept) EXPECT_TRUE(test::bytes_all(run_start(run), run_size(run), 0x5a));
  regions_find([&](Region& region) {
    for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
      if (test::is_closed(region, c)) {
        EXPECT_TRUE(test::bytes_all(chunk_address(region, c), chunk_size(region), 0));
      }
      uint64_t free = region.chunks[c].free.load_relaxed();
      for (unsigned s = 1; s < kSlicesPerChunk; s++) {
        if (((free >> s) & 1) == 0) continue;
        EXPECT_TRUE(test::bytes_all(chunk_address(region, c) + s * kSliceSize, kSliceSize, 0)) << "slice " << s;
      }
    }
    return false;
  });
  EXPECT_EQ(purge_all(), 0u);
  for (const Slices& run : kept) slices_release(run.first, run.count);
}

TEST_F(ChunkTest, FreeMemoryAboveTheBudgetGoesBack) {
  purge_all();
  std::vector<BlockPool*> slices;
  for (int i = 0; i < 10000; i++) slices.push_back(slices_acquire(1, true));
  uint64_t purged = accounts.purged.load_relaxed();
  // What earlier tests took again and again is forgotten.
  accounts.retention.draw.store_relaxed(0);
  for (BlockPool* each : slices) {
    slices_release(each, 1);
    purge_excess(kSliceSize);
    EXPECT_LE(dirty_free(), retention_budget(accounts.retention, accounts.in_use.load_relaxed()));
  }
  EXPECT_GE(accounts.purged.load_relaxed() - purged, size_t{500} << 20) << "of 625 MiB";
}

TEST_F(ChunkTest, WhatIsAlwaysKeptStaysWhenAllElseGoes) {
  std::vector<BlockPool*> slices;
  for (int i = 0; i < 1000; i++) slices.push_back(slices_acquire(1, false));
  for (BlockPool* each : slices) slices_release(each, 1);
  ASSERT_GT(dirty_free(), kRetentionFloor + int64_t{kChunkSize});
  EXPECT_GT(purge_idle(), 0u);
  EXPECT_LE(dirty_free(), kRetentionFloor);
  EXPECT_GT(dirty_free(), kRetentionFloor - int64_t{kChunkSize}) << "whole chunks go";
  EXPECT_EQ(purge_idle(), 0u);
}

// Of a chunk some slices are in use, some were, and some never.
TEST_F(ChunkTest, ATornHugePageIsCountedOnce) {
  if (os_page_size() > kSliceSize / 4) GTEST_SKIP() << "slices share pages with the header";
  purge_all();
  std::vector<BlockPool*> slices, held;
  for (int i = 0; i < 300; i++) slices.push_back(slices_acquire(1, false));
  for (size_t i = 0; i < slices.size(); i++) i % 3 == 0 ? slices_release(slices[i], 1) : held.push_back(slices[i]);
  regions_find([](Region& region) {
    for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
      if (chunk_bit(region.open_chunks, c)) chunk_advise_huge(region, c, true);
    }
    return false;
  });
  for (BlockPool* each : held) EXPECT_TRUE(pages_purge(slice_address(each), slices_span(each, 1)));
  expect_memory_valid();
  for (BlockPool* each : held) slices_release(each, 1);
  expect_memory_valid();
}

TEST_F(ChunkTest, FreeRegionsCanBeUnmappedAndMappedAgain) {
  BlockPool* kept = slices_acquire(2, true);
  for (int round = 0; round < 3; round++) {
    {
      SharedLockGuard guard(regions_lock);
      regions_release_free();
      EXPECT_FALSE(regions_release_free()) << "nothing is left to unmap";
    }
    expect_memory_valid();
    std::vector<BlockPool*> slices;
    for (int i = 0; i < 1000; i++) slices.push_back(slices_acquire(1, true));
    for (BlockPool* each : slices) slices_release(each, 1);
    expect_memory_valid();
  }
  slices_release(kept, 2);
}

TEST_F(ChunkTest, AnOpenChunkIsFoundWhereItsPlaceInTheTableIsTaken) {
  std::vector<BlockPool*> slices{slices_acquire(1, true)};
  // As if a chunk far away were listed in the places of all chunks that are opened next.
  std::vector<std::function<void()>> taken;
  unsigned lost = 0;
  auto take = [&](auto& place) {
    if (place.load_relaxed() != 0) return;
    place.store_relaxed(~uint32_t{0});
    taken.push_back([&place, &lost] {
      lost += place.load_relaxed() != ~uint32_t{0};
      place.store_relaxed(0);
    });
  };
  for (Atomic<uintptr_t>& place : chunk_tags.places) take(place);
  for (int i = 0; i < 300; i++) slices.push_back(slices_acquire(1, true));
  ASSERT_NE(further_chunk_tags.load_relaxed(), nullptr);
  for (Atomic<uint32_t>& place : further_chunk_tags.load_relaxed()->places) take(place);
  for (int i = 0; i < 300; i++) slices.push_back(slices_acquire(1, true));
  int further = 0, nowhere = 0;
  for (BlockPool* each : slices) {
    const uintptr_t address = address_of(each);
    further += !chunk_is_listed(address) && chunk_is_listed_further(address);
    nowhere += !chunk_is_listed(address) && !chunk_is_listed_further(address);
    EXPECT_TRUE(chunk_is_open(address_of(slice_address(each)) + 100));
  }
  EXPECT_GT(further, 0);
  EXPECT_GT(nowhere, 0);
  EXPECT_FALSE(chunk_is_open(address_of(this)));
  expect_memory_valid();
  for (BlockPool* each : slices) slices_release(each, 1);
  for (auto& give_back : taken) give_back();
  EXPECT_EQ(lost, 0u) << "who closes a chunk leaves others' tags alone";
}

// --- Threads --------------------------------------------------------------------------------------------

// Where a slice's owner leaves his stamp; 0 while nobody holds it.
std::atomic<uint64_t>& stamp_of(char* slice) {
  return *reinterpret_cast<std::atomic<uint64_t>*>(slice + kSliceSize - sizeof(uint64_t));
}

TEST_F(ChunkTest, NoSliceHasTwoOwnersAmongThreads) {
  std::atomic<int> violations{0};
  test::in_threads(4, [&](unsigned thread) {
    Random random(100 + thread);
    struct Held {
      BlockPool* first;
      unsigned count;
    };
    const uint64_t stamp = thread + 1;
    std::vector<Held> held;
    auto release = [&](size_t index) {
      Held gone = held[index];
      held[index] = held.back();
      held.pop_back();
      for (unsigned i = 0; i < gone.count; i++) {
        violations += stamp_of(slice_address(gone.first) + i * kSliceSize).exchange(0) != stamp;
      }
      slices_release(gone.first, gone.count);
    };
    for (int step = 0; step < 15000; step++) {
      uint64_t what = random.below(100);
      if (what < 50 && held.size() < 60) {
        unsigned count = random_count(random);
        BlockPool* first = slices_acquire(count, random.below(2) == 0);
        for (unsigned i = 0; i < count; i++) {
          violations += stamp_of(slice_address(first) + i * kSliceSize).exchange(stamp) != 0;
        }
        held.push_back({first, count});
      } else if (what == 57 && step % 16 == 0) {
        purge_all();
      } else if (!held.empty()) {
        release(random.below(held.size()));
      }
    }
    while (!held.empty()) release(held.size() - 1);
  });
  EXPECT_EQ(violations.load(), 0);
}

}  // namespace
}  // namespace poolalloc
