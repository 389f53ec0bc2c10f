// Laws of large blocks (heap/large.h) and of pointers that are none of ours (heap/misuse.h), through
// the api.
//
// Always holds: each test frees all that it allocated, and then the accounts are as before.
#include "heap/large.h"

#include <errno.h>
#include <gtest/gtest.h>

#include "accounts.h"
#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "chunk/purge.h"
#include "heap/misuse.h"
#include "os/os.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::bytes_all;
using test::bytes_in_use;
using test::Random;

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

// Large memory is written at every 64 KiB and at both ends only.
template <typename Visit>
void each_place(void* p, size_t size, Visit visit) {
  char* bytes = static_cast<char*>(p);
  for (size_t at = 0; at + 8 <= size; at += kSliceSize) visit(bytes + at, at);
  if (size >= 8) visit(bytes + size - 8, size_t{0xeeee});
}
void stamp(void* p, size_t size, uint64_t seed) {
  each_place(p, size, [&](char* at, size_t where) {
    uint64_t value = where * 0x9e3779b97f4a7c15u + seed;
    memcpy(at, &value, 8);
  });
}
// The first `size` bytes of a block that was stamped with `stamped` bytes.
bool stamp_holds(void* p, size_t size, size_t stamped, uint64_t seed) {
  bool holds = true;
  each_place(p, stamped, [&](char* at, size_t where) {
    if (at + 8 > static_cast<char*>(p) + size) return;
    if (where != 0xeeee && at + 8 > static_cast<char*>(p) + stamped - 8) return;  // under the last stamp
    uint64_t expected = where * 0x9e3779b97f4a7c15u + seed, value;
    memcpy(&value, at, 8);
    holds &= value == expected;
  });
  return holds;
}

std::vector<size_t> border_sizes() {
  std::vector<size_t> sizes;
  for (size_t border : {64 * kKiB, 128 * kKiB, 63 * 64 * kKiB, 62 * 64 * kKiB, 4 * kMiB, 4 * kMiB - 64 * kKiB, 8 * kMiB,
                        128 * kMiB, 128 * kMiB - 64 * kKiB, 256 * kMiB}) {
    for (size_t off : {0, 1, 15, 16, 4095, 4096, 65536}) {
      sizes.push_back(border - off);
      sizes.push_back(border + off);
    }
  }
  return sizes;
}

class Large : public testing::Test {
 protected:
  // Pointers that were not the start of a block.
  static uint64_t wrong_count() { return foreign_count() + misuse_count(); }
  static size_t blocks() {
    SharedLockGuard guard(extents_lock);
    return extent_totals().block_count;
  }
  void SetUp() override {
    foreign_policy.store_relaxed(ForeignPolicy::ignore);
    misuse_policy.store_relaxed(MisusePolicy::ignore);
    api_free(api_malloc(1));
    api_malloc_trim(0);
    in_use_before = bytes_in_use();
    count_before = blocks();
    wrong_before = wrong_count();
  }
  void TearDown() override {
    api_malloc_trim(0);
    EXPECT_EQ(bytes_in_use(), in_use_before);
    EXPECT_EQ(blocks(), count_before);
    EXPECT_EQ(wrong_count(), wrong_before) << "a block of ours was not recognised";
    test::expect_memory_valid();
  }
  int64_t in_use_before;
  size_t count_before;
  uint64_t wrong_before;
};

TEST_F(Large, BlocksAroundEveryBorderHoldTheirBytes) {
  for (size_t size : border_sizes()) {
    void* p = api_malloc(size);
    ASSERT_NE(p, nullptr);
    ASSERT_EQ(address_of(p) % kBlockAlignment, 0u);
    size_t usable = api_usable_size(p);
    ASSERT_GE(usable, size);
    void* neighbour = api_malloc(size);
    stamp(p, usable, 1);
    stamp(neighbour, size, 2);
    ASSERT_TRUE(stamp_holds(p, usable, usable, 1)) << size;
    ASSERT_TRUE(stamp_holds(neighbour, size, size, 2)) << size;
    api_free(p);
    ASSERT_TRUE(stamp_holds(neighbour, size, size, 2)) << size;
    api_free(neighbour);
  }
}

TEST_F(Large, EveryAlignmentUpTo1GiBHoldsForEverySize) {
  for (size_t alignment = 16; alignment <= kGiB; alignment *= 2) {
    for (size_t size : {size_t{0}, size_t{1}, size_t{100}, 4 * kKiB, 64 * kKiB, 64 * kKiB + 1, 500 * kKiB, 2 * kMiB,
                        4 * kMiB - 64 * kKiB, 5 * kMiB, 130 * kMiB}) {
      void* a = api_memalign(alignment, size);
      void* b = api_memalign(alignment, size);
      ASSERT_NE(a, nullptr) << alignment << " " << size;
      ASSERT_NE(b, nullptr) << alignment << " " << size;
      ASSERT_EQ(address_of(a) % alignment, 0u);
      ASSERT_EQ(address_of(b) % alignment, 0u);
      // Two pointers into a chunk's header or into one another would show.
      const uintptr_t header = chunk_start(a) + kChunkHeaderOffset;
      ASSERT_TRUE(!chunk_is_open(header) || address_of(a) + size <= header ||
                  address_of(a) >= header + kChunkHeaderSize)
          << "a block of " << size << " aligned to " << alignment << " overlaps a chunk's header";
      size_t usable = api_usable_size(a);
      ASSERT_GE(usable, size);
      stamp(a, usable, 1);
      stamp(b, size, 2);
      ASSERT_TRUE(stamp_holds(a, usable, usable, 1)) << alignment << " " << size;
      api_free(a);
      ASSERT_TRUE(stamp_holds(b, size, size, 2)) << alignment << " " << size;
      api_free(b);
    }
  }
}

TEST_F(Large, AnAlignmentThatIsNoPowerOfTwoIsRoundedUpToOne) {
  for (size_t alignment = 17; alignment < 300'000; alignment += alignment / 3) {
    size_t power = 16;
    while (power < alignment) power *= 2;
    // Of so many one would not be aligned so by chance.
    void* blocks[40];
    for (void*& p : blocks) {
      p = api_memalign(alignment, alignment / 2);
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(address_of(p) % power, 0u) << alignment;
    }
    for (void* p : blocks) api_free(p);
  }
}

TEST_F(Large, AlignedBlocksMayBeResized) {
  for (size_t alignment : {32 * kKiB, 128 * kKiB, 2 * kMiB, 4 * kMiB, 16 * kMiB}) {
    for (size_t size : {80 * kKiB, 3 * kMiB, 20 * kMiB, 140 * kMiB}) {
      void* p = api_memalign(alignment, size);
      stamp(p, size, 5);
      p = api_realloc(p, size * 2);
      ASSERT_TRUE(stamp_holds(p, size, size, 5)) << alignment << " " << size;
      stamp(p, size * 2, 6);
      p = api_realloc(p, size / 2);
      ASSERT_TRUE(stamp_holds(p, size / 2, size * 2, 6)) << alignment << " " << size;
      api_free(p);
    }
  }
}

TEST_F(Large, ReallocKeepsContentsUpAndDownAcrossTheBorders) {
  std::vector<size_t> sizes{1000,      60 * kKiB,      64 * kKiB + 1, 100 * kKiB, 200 * kKiB,
                            1 * kMiB,  63 * 64 * kKiB, 4 * kMiB,      5 * kMiB,   9 * kMiB,
                            40 * kMiB, 127 * kMiB,     129 * kMiB,    180 * kMiB, 300 * kMiB};
  for (size_t from : sizes) {
    for (size_t to : sizes) {
      void* p = api_malloc(from);
      stamp(p, from, from);
      p = api_realloc(p, to);
      ASSERT_NE(p, nullptr);
      ASSERT_GE(api_usable_size(p), to);
      ASSERT_TRUE(stamp_holds(p, std::min(from, to), from, from)) << from << " to " << to;
      stamp(p, api_usable_size(p), 1);
      api_free(p);
    }
  }
}

TEST_F(Large, GrowingStepByStepKeepsContentsAndAccounts) {
  for (size_t step : {4 * kKiB, 60 * kKiB, 1 * kMiB}) {
    for (size_t start : {70 * kKiB, 3 * kMiB, 128 * kMiB, 130 * kMiB}) {
      size_t size = start;
      void* p = api_malloc(size);
      for (int i = 0; i < 40; i++) {
        stamp(p, size, uint64_t(i));
        p = api_realloc(p, size + step);
        ASSERT_TRUE(stamp_holds(p, size, size, uint64_t(i)));
        size += step;
      }
      for (int i = 0; i < 30; i++) {
        stamp(p, size, uint64_t(i));
        p = api_realloc(p, size - step);
        ASSERT_TRUE(stamp_holds(p, size - step, size, uint64_t(i)));
        size -= step;
      }
      api_free(p);
      api_malloc_trim(0);
      EXPECT_EQ(bytes_in_use(), in_use_before) << "from " << start << " in steps of " << step;
    }
  }
}

TEST_F(Large, ALargeBlockShrinksAndGrowsInPlaceWhereItCan) {
  void* p = api_malloc(1 * kMiB);
  EXPECT_EQ(api_realloc(p, 512 * kKiB), p);
  EXPECT_EQ(api_realloc(p, 1 * kMiB), p) << "what it gave back is still free";
  api_free(p);
}

TEST_F(Large, CallocIsZeroAfterDirtyReuse) {
  for (size_t size : {65537 * size_t{1}, 200 * kKiB, 1 * kMiB, 63 * 64 * kKiB, 4 * kMiB, 10 * kMiB, 130 * kMiB}) {
    for (int round = 0; round < 3; round++) {
      void* a = api_malloc(size);
      void* b = api_malloc(size);
      size_t most = std::min(api_usable_size(a), 12 * kMiB);
      memset(a, 0xff, most);
      memset(b, 0xff, most);
      api_free(a);
      if (round == 1) purge_all();
      void* c = api_calloc(size, 1);
      ASSERT_TRUE(bytes_all(c, size, 0)) << size;
      memset(c, 0xff, most);
      c = api_realloc(c, size / 2 + 1);
      api_free(b);
      void* d = api_calloc(1, size);
      ASSERT_TRUE(bytes_all(d, size, 0)) << size;
      api_free(c);
      api_free(d);
    }
  }
}

TEST_F(Large, AnEarlierPoolsMemoryIsZeroInCalloc) {
  for (int round = 0; round < 5; round++) {
    std::vector<void*> blocks;
    for (int i = 0; i < 3000; i++) {
      blocks.push_back(api_malloc(4096));
      memset(blocks.back(), 0xff, 4096);
    }
    for (void* p : blocks) api_free(p);
    void* p = api_calloc(1, 3 * kMiB);
    ASSERT_TRUE(bytes_all(p, 3 * kMiB, 0));
    api_free(p);
  }
}

TEST_F(Large, TheHardLimitIsWhatMayBeInUseAndNoByteLess) {
  for (size_t wanted : {100 * kKiB, 1 * kMiB, 6 * kMiB}) {
    const size_t size = round_up(wanted, os_page_size());
    retention_policy.hard.store_relaxed(bytes_in_use() + int64_t(size));
    errno = 0;
    EXPECT_EQ(api_malloc(size + 1), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    void* p = api_malloc(size);
    EXPECT_NE(p, nullptr);
    EXPECT_EQ(api_malloc(64 * kKiB + 1), nullptr);
    retention_policy.hard.store_relaxed(kUnlimited);
    api_free(p);
  }
}

TEST_F(Large, FreeingAloneGivesMemoryBack) {
  std::vector<void*> blocks;
  for (int i = 0; i < 300; i++) {
    blocks.push_back(api_malloc(1 * kMiB));
    stamp(blocks.back(), 1 * kMiB, 1);
  }
  for (void* p : blocks) api_free(p);
  EXPECT_LE(test::dirty_free(), accounts.budget.load_relaxed());
}

TEST_F(Large, BlocksOfSeveralThreadsKeepTheirContents) {
  std::atomic<int> violations{0};
  test::in_threads(4, [&](unsigned thread) {
    Random random(50 + thread);
    for (int i = 0; i < 400; i++) {
      size_t size = 64 * kKiB + random.size_up_to(12 * kMiB);
      size_t alignment = random.below(4) == 0 ? size_t{1} << random.below(22) : 16;
      void* p = api_memalign(alignment, size);
      violations += address_of(p) % alignment != 0;
      stamp(p, size, thread);
      size_t next = 64 * kKiB + random.size_up_to(12 * kMiB);
      p = api_realloc(p, next);
      violations += !stamp_holds(p, std::min(size, next), size, thread);
      api_free(p);
      void* zero = api_calloc(1, next);
      violations += !bytes_all(zero, std::min(next, kMiB), 0);
      stamp(zero, next, thread);
      api_free(zero);
    }
  });
  EXPECT_EQ(violations.load(), 0);
}

TEST_F(Large, PointersIntoBlocksAreForeign) {
  for (size_t size :
       {100 * size_t{1}, 1000 * size_t{1}, 5000 * size_t{1}, 40 * kKiB, 100 * kKiB, 1 * kMiB, 6 * kMiB, 140 * kMiB}) {
    char* p = static_cast<char*>(api_malloc(size));
    for (size_t offset : {size_t{1}, size_t{8}, size_t{16}, size / 2 | 1, size - 1}) {
      EXPECT_EQ(api_usable_size(p + offset), 0u) << size << " + " << offset;
      api_free(p + offset);
      errno = 0;
      EXPECT_EQ(api_realloc(p + offset, 10), nullptr);
      EXPECT_EQ(errno, EINVAL);
      wrong_before += 3;
    }
    EXPECT_NE(api_usable_size(p), 0u);
    api_free(p);
  }
}

TEST_F(Large, PointersThatWereNeverOursAreForeign) {
  static char data[64];
  char stack[64];
  char* heap = new char[64];
  void* mapping = os_map(2 * kChunkSize, kChunkSize);
  char* chunk = static_cast<char*>(mapping);
  const void* wild[] = {data,
                        data + 16,
                        stack,
                        heap,
                        chunk,
                        chunk + kChunkHeaderOffset,
                        chunk + kSliceSize,
                        reinterpret_cast<void*>(16),
                        reinterpret_cast<void*>(UINTPTR_MAX & ~uintptr_t{15}),
                        reinterpret_cast<void*>(uintptr_t{1} << 47),
                        reinterpret_cast<void*>(uintptr_t{1} << 63)};
  for (const void* p : wild) {
    EXPECT_EQ(api_usable_size(p), 0u) << p;
    api_free(const_cast<void*>(p));
    wrong_before += 2;
  }
  EXPECT_TRUE(bytes_all(data, 64, 0)) << "nothing was written";
  os_unmap(mapping, 2 * kChunkSize);
  delete[] heap;
}

TEST_F(Large, ABlockGivenBackIsForeign) {
  for (size_t size : {100 * kKiB, 1 * kMiB, 6 * kMiB, 140 * kMiB}) {
    void* p = api_malloc(size);
    api_free(p);
    EXPECT_EQ(api_usable_size(p), 0u) << size;
    wrong_before++;
  }
  for (size_t alignment : {4 * kMiB, 64 * kMiB}) {
    void* p = api_memalign(alignment, 1000);
    EXPECT_GE(api_usable_size(p), 1000u);
    api_free(p);
    EXPECT_EQ(api_usable_size(p), 0u) << alignment;
    wrong_before++;
  }
}

}  // namespace
}  // namespace poolalloc
