// Laws of chunks and slices (chunk/chunk.h, chunk/region.h) against a model that knows which slices it
// holds.
//
// Always holds: each test gives back all that it claimed; region.h's equations hold whenever no other
// thread runs.
#include "chunk/chunk.h"

#include <gtest/gtest.h>

#include <map>

#include "accounts.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::dirty_free;
using test::expect_regions_valid;
using test::Random;
using test::slices_in_use;

struct Slices {
  BlockPool* first;
  unsigned count;
};

char* run_start(const Slices& run) { return slice_address(run.first) + slice_header_size(run.first); }
size_t run_size(const Slices& run) { return run.count * kSliceSize - slice_header_size(run.first); }

// Every slice of a run is touched at its end, so that memory stays small.
void mark(const Slices& run, unsigned char value) {
  for (unsigned i = 1; i <= run.count; i++) memset(slice_address(run.first) + i * kSliceSize - 64, value, 64);
}
bool is_marked(const Slices& run, unsigned char value) {
  for (unsigned i = 1; i <= run.count; i++) {
    if (!test::bytes_all(slice_address(run.first) + i * kSliceSize - 64, 64, value)) return false;
  }
  return true;
}

unsigned random_count(Random& random) { return 1 + unsigned(random.below(random.below(4) == 0 ? 63 : 10)); }
unsigned random_alignment(Random& random, unsigned count) {
  unsigned alignment = 1u << random.below(6);
  while (alignment > 1 && alignment + count > kSlicesPerChunk) alignment /= 2;
  return alignment;
}

class ChunkTest : public testing::Test {
 protected:
  void SetUp() override { in_use_before = slices_in_use(); }
  void TearDown() override {
    EXPECT_EQ(slices_in_use(), in_use_before);
    expect_regions_valid();
  }
  int64_t in_use_before;
};

TEST_F(ChunkTest, SlicesAreClaimedExtendedAndReleasedLikeInTheModel) {
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
  };
  for (int step = 0; step < 30000 && !HasFatalFailure(); step++) {
    unsigned char value = static_cast<unsigned char>(1 + random.below(255));
    uint64_t what = random.below(10);
    if (what < 5 && count_held < 3000) {
      unsigned count = random_count(random), alignment = random_alignment(random, count);
      bool header_allowed = random.below(2) == 0;
      SliceRun claimed = slices_acquire(count, alignment, header_allowed);
      ASSERT_NE(claimed.first, nullptr);
      Slices run{claimed.first, count};
      unsigned start = slice_index(run.first);
      ASSERT_EQ(start % alignment, 0u);
      ASSERT_LE(start + count, kSlicesPerChunk);
      ASSERT_TRUE((count == 1 && header_allowed) || start != 0) << "a run has the header's slice";
      for (unsigned i = 0; i < count; i++) {
        hold(slice_address(run.first) + i * kSliceSize);
        ASSERT_EQ(run.first[i].state, SliceState::free);
        ASSERT_EQ(run.first[i].owner, nullptr);
        ASSERT_EQ(run.first[i].reciprocal, 0u);
      }
      if (claimed.zeroed) {
        ASSERT_TRUE(test::bytes_all(run_start(run), run_size(run), 0)) << "claimed to be zero";
      }
      mark(run, value);
      held.push_back({run, value});
      count_held += count;
    } else if (what < 6 && !held.empty()) {
      Held& each = held[random.below(held.size())];
      unsigned more = 1 + unsigned(random.below(8));
      if (slice_index(each.run.first) == 0) continue;
      if (!slices_extend(each.run.first, each.run.count, each.run.count + more)) continue;
      ASSERT_TRUE(is_marked(each.run, each.value));
      for (unsigned i = 0; i < more; i++) hold(slice_address(each.run.first) + (each.run.count + i) * kSliceSize);
      each.run.count += more;
      count_held += more;
      mark(each.run, each.value);
    } else if (!held.empty()) {
      size_t index = random.below(held.size());
      Held& each = held[index];
      ASSERT_TRUE(is_marked(each.run, each.value)) << "somebody else wrote into the run";
      if (what == 9 && each.run.count > 1) {  // a part, as when a block shrinks
        unsigned keep = 1 + unsigned(random.below(each.run.count - 1));
        Slices rest{each.run.first + keep, each.run.count - keep};
        let_go(rest);
        slices_release(rest.first, rest.count);
        each.run.count = keep;
      } else {
        let_go(each.run);
        slices_release(each.run.first, each.run.count);
        held[index] = held.back();
        held.pop_back();
      }
    }
    ASSERT_EQ(slices_in_use(), in_use_before + count_held);
    if (step % 50 == 0) expect_regions_valid();
    if (step % 2000 == 0) purge_all();
  }
  for (const Held& each : held) {
    EXPECT_TRUE(is_marked(each.run, each.value));
    slices_release(each.run.first, each.run.count);
  }
}

TEST_F(ChunkTest, ExtendingOverAUsedSliceOrTheEndFailsAndChangesNothing) {
  SliceRun a = slices_acquire(20, 1, true);
  SliceRun b = slices_acquire(1, 1, true);
  ASSERT_EQ(chunk_of(a.first), chunk_of(b.first));
  while (slice_index(b.first) == 0) b = slices_acquire(1, 1, true);
  ASSERT_EQ(b.first, a.first + 20) << "the lowest free run is taken";
  int64_t in_use = slices_in_use();
  EXPECT_FALSE(slices_extend(a.first, 20, 21));
  EXPECT_FALSE(slices_extend(b.first, 1, 64));
  EXPECT_EQ(slices_in_use(), in_use);
  EXPECT_TRUE(slices_extend(b.first, 1, 2));
  EXPECT_EQ(slices_in_use(), in_use + 1);
  slices_release(b.first, 2);
  EXPECT_TRUE(slices_extend(a.first, 20, 22));
  slices_release(a.first, 22);
  BlockPool* zero = chunk_of(a.first)->slices;
  slices_release(zero, 1);
}

TEST_F(ChunkTest, AChunkClosesWhenItsLastSliceIsReleased) {
  std::vector<BlockPool*> slices;
  for (unsigned i = 0; i < 3 * kSlicesPerChunk; i++) slices.push_back(slices_acquire(1, 1, true).first);
  std::map<Chunk*, int> chunks;
  for (BlockPool* each : slices) {
    Chunk* chunk = chunk_of(each);
    chunks[chunk]++;
    EXPECT_TRUE(chunk_bit_test(owned_chunks, address_of(chunk)));
  }
  for (BlockPool* each : slices) {
    Chunk* chunk = chunk_of(each);
    slices_release(each, 1);
    EXPECT_EQ(chunk_bit_test(owned_chunks, address_of(chunk)), --chunks[chunk] > 0);
  }
}

TEST_F(ChunkTest, FullChunksAreFilledBeforeOthersAreOpened) {
  std::vector<BlockPool*> slices;
  std::map<Chunk*, int> chunks;
  for (unsigned i = 0; i < 8 * kSlicesPerChunk; i++) {
    slices.push_back(slices_acquire(1, 1, true).first);
    chunks[chunk_of(slices.back())]++;
  }
  EXPECT_EQ(chunks.size(), 8u);
  for (BlockPool* each : slices) slices_release(each, 1);
}

TEST_F(ChunkTest, PurgingLeavesNothingDirtyAndEverythingFreeReadsZero) {
  // One slice of each chunk stays in use, so that open chunks are purged too.
  std::vector<Slices> runs;
  for (int i = 0; i < 60; i++) {
    runs.push_back({slices_acquire(i % 12 == 0 ? 1 : 12, 1, true).first, i % 12 == 0 ? 1u : 12u});
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
  expect_regions_valid();
  for (const Slices& run : kept) EXPECT_TRUE(test::bytes_all(run_start(run), run_size(run), 0x5a));
  regions_find([&](Region& region) {
    for (unsigned c = 0; region.base != nullptr && c < region.chunk_count; c++) {
      if (test::is_closed(region, c)) {
        EXPECT_TRUE(test::bytes_all(chunk_address(region, c), kChunkSize, 0));
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

TEST_F(ChunkTest, AHeadersSliceIsSaidToBeZeroOnlyIfItsRestIs) {
  std::vector<BlockPool*> others;
  BlockPool* zero = slices_acquire(1, 1, true).first;
  for (; slice_index(zero) != 0; zero = slices_acquire(1, 1, true).first) others.push_back(zero);
  BlockPool* neighbour = slices_acquire(1, 1, true).first;  // keeps the chunk open
  ASSERT_EQ(chunk_of(neighbour), chunk_of(zero));
  memset(run_start({zero, 1}), 0x77, run_size({zero, 1}));
  slices_release(zero, 1);
  purge_all();
  SliceRun again = slices_acquire(1, 1, true);
  ASSERT_EQ(again.first, zero);
  if (again.zeroed) {
    EXPECT_TRUE(test::bytes_all(run_start({zero, 1}), run_size({zero, 1}), 0));
  }
  slices_release(zero, 1);
  slices_release(neighbour, 1);
  for (BlockPool* each : others) slices_release(each, 1);
}

TEST_F(ChunkTest, FreeMemoryAboveTheBudgetGoesBack) {
  purge_all();
  std::vector<Chunk*> chunks;
  bool zeroed;
  for (int i = 0; i < 10; i++) {
    chunks.push_back(chunks_acquire(16, false, &zeroed));
    ASSERT_NE(chunks.back(), nullptr);
  }
  uint64_t purged = region_table.purged_bytes.load_relaxed();
  // What earlier tests took again and again is forgotten.
  region_table.retention.draw.store_relaxed(0);
  for (Chunk* each : chunks) {
    chunks_release(each, 16);
    purge_excess(16 * kSlicesPerChunk);
    EXPECT_LE(dirty_free(), retention_budget(region_table.retention, slices_in_use()));
  }
  EXPECT_GE(region_table.purged_bytes.load_relaxed() - purged, size_t{500} << 20) << "of 640 MiB";
}

TEST_F(ChunkTest, WholeChunksAreContiguousDescribedAndZeroWhenSaidSo) {
  struct Held {
    Chunk* chunk;
    unsigned count;
    unsigned char value;
  };
  Random random(5);
  std::vector<Held> held;
  std::map<char*, int> owned;
  auto edges = [](const Held& h, unsigned i) { return reinterpret_cast<char*>(h.chunk) + i * kChunkSize; };
  for (int step = 0; step < 2000; step++) {
    if (held.size() < 20 && random.below(2) == 0) {
      bool zeroed = false;
      unsigned count = 1 + unsigned(random.below(random.below(8) == 0 ? 64 : 6));
      Chunk* chunk = chunks_acquire(count, false, &zeroed);
      ASSERT_NE(chunk, nullptr);
      ASSERT_EQ(address_of(chunk) % kChunkSize, 0u);
      ASSERT_EQ(chunk_address(*chunk->info.region, chunk->info.index), reinterpret_cast<char*>(chunk));
      ASSERT_LE(chunk->info.index + count, chunk->info.region->chunk_count);
      ASSERT_TRUE(chunk_bit_test(owned_chunks, address_of(chunk)));
      Held now{chunk, count, static_cast<unsigned char>(1 + random.below(255))};
      for (unsigned i = 0; i < count; i++) {
        ASSERT_EQ(owned[edges(now, i)]++, 0) << "a chunk is handed out twice";
        if (i > 0) {
          ASSERT_FALSE(chunk_bit_test(owned_chunks, address_of(edges(now, i))));
        }
        if (zeroed && random.below(8) == 0) {
          size_t header = i == 0 ? kChunkHeaderSize : 0;
          ASSERT_TRUE(test::bytes_all(edges(now, i) + header, kChunkSize - header, 0));
        }
        memset(edges(now, i) + kSliceSize, now.value, 100);
      }
      held.push_back(now);
    } else if (!held.empty()) {
      size_t index = random.below(held.size());
      Held gone = held[index];
      held[index] = held.back();
      held.pop_back();
      for (unsigned i = 0; i < gone.count; i++) {
        ASSERT_TRUE(test::bytes_all(edges(gone, i) + kSliceSize, 100, gone.value));
        owned[edges(gone, i)]--;
      }
      chunks_release(gone.chunk, gone.count);
      ASSERT_FALSE(chunk_bit_test(owned_chunks, address_of(gone.chunk)));
    }
    if (step % 100 == 0) expect_regions_valid();
    if (step % 300 == 0) purge_all();
  }
  for (const Held& each : held) chunks_release(each.chunk, each.count);
}

TEST_F(ChunkTest, FreeRegionsCanBeUnmappedAndMappedAgain) {
  bool zeroed;
  Chunk* chunk = chunks_acquire(3, false, &zeroed);
  memset(byte_offset(chunk, kSliceSize), 1, 1000);
  SliceRun kept = slices_acquire(2, 1, true);
  chunks_release(chunk, 3);
  for (int round = 0; round < 3; round++) {
    {
      LockGuard guard(regions_lock);
      regions_release_free();
      EXPECT_FALSE(regions_release_free()) << "nothing is left to unmap";
    }
    expect_regions_valid();
    chunk = chunks_acquire(40, false, &zeroed);
    ASSERT_NE(chunk, nullptr);
    chunks_release(chunk, 40);
    expect_regions_valid();
  }
  slices_release(kept.first, 2);
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
      char* start;
      BlockPool* first;  // nullptr: whole chunks
      unsigned count;    // slices
    };
    const uint64_t stamp = thread + 1;
    std::vector<Held> held;
    auto take = [&](char* start, unsigned count) {
      for (unsigned i = 0; i < count; i++) violations += stamp_of(start + i * kSliceSize).exchange(stamp) != 0;
    };
    auto leave = [&](char* start, unsigned count) {
      for (unsigned i = 0; i < count; i++) violations += stamp_of(start + i * kSliceSize).exchange(0) != stamp;
    };
    auto release = [&](size_t index) {
      Held gone = held[index];
      held[index] = held.back();
      held.pop_back();
      leave(gone.start, gone.count);
      if (gone.first != nullptr) {
        slices_release(gone.first, gone.count);
      } else {
        chunks_release(reinterpret_cast<Chunk*>(gone.start), gone.count / kSlicesPerChunk);
      }
    };
    for (int step = 0; step < 15000; step++) {
      uint64_t what = random.below(100);
      if (what < 50 && held.size() < 60) {
        unsigned count = random_count(random);
        BlockPool* first = slices_acquire(count, random_alignment(random, count), true).first;
        take(slice_address(first), count);
        held.push_back({slice_address(first), first, count});
      } else if (what < 55 && !held.empty()) {
        Held& each = held[random.below(held.size())];
        if (each.first == nullptr || slice_index(each.first) == 0) continue;
        if (!slices_extend(each.first, each.count, each.count + 2)) continue;
        take(each.start + each.count * kSliceSize, 2);
        each.count += 2;
      } else if (what < 57) {
        bool zeroed;
        unsigned count = 1 + unsigned(random.below(3));
        char* start = reinterpret_cast<char*>(chunks_acquire(count, false, &zeroed));
        take(start, count * kSlicesPerChunk);
        held.push_back({start, nullptr, count * kSlicesPerChunk});
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
