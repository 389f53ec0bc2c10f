// Laws of heaps that the program makes (heap/program_heap.h), through the public functions (api/poolalloc.h).
//
// Always holds: each test deletes its heaps, and then as much is in use as before.
#include "heap/program_heap.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <map>
#include <string>
#include <tuple>

#define POOLALLOC_NO_SHORT_NAMES
#include "api/poolalloc.h"
#include "heap/misuse.h"
#include "heap_test.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::bytes_all;
using test::bytes_in_use;
using test::expect_memory_valid;
using test::in_thread;
using test::in_threads;
using test::pattern_fill;
using test::pattern_holds;
using test::Random;
using test::slices_in_use;

class ProgramHeapTest : public test::HeapTest {
 protected:
  void SetUp() override {
    HeapTest::SetUp();
    bytes_before = bytes_in_use();
  }
  void TearDown() override {
    HeapTest::TearDown();
    EXPECT_EQ(bytes_in_use(), bytes_before) << "large blocks are lost";
    expect_memory_valid();
  }
  int64_t bytes_before = 0;
};

bool is_valid(poolalloc_heap* heap) {
  ProgramHeap& inside = *reinterpret_cast<ProgramHeap*>(heap);
  LockGuard guard(inside.heap.gate->lock);
  return program_heap_is_valid(inside);
}

poolalloc_heap_stats stats_of(const poolalloc_heap* heap) {
  poolalloc_heap_stats stats;
  poolalloc_heap_stats_get(heap, &stats, sizeof stats);
  return stats;
}

// The blocks that a visit finds, with their sizes.
std::map<void*, size_t> visited(poolalloc_heap* heap) {
  std::map<void*, size_t> found;
  auto visit = [](void* block, size_t size, void* context) {
    auto& blocks = *static_cast<std::map<void*, size_t>*>(context);
    EXPECT_EQ(blocks.count(block), 0u) << "twice";
    blocks[block] = size;
    return 1;
  };
  EXPECT_EQ(poolalloc_heap_visit(heap, visit, &found), 1);
  return found;
}

constexpr size_t kSizes[] = {0, 1, 16, 100, 1000, 9000, 40000, 65536, 65537, 300000, 5 << 20};

TEST_F(ProgramHeapTest, BlocksOfAllSizesAreInTheHeapAndCountedExactly) {
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  ASSERT_NE(heap, nullptr);
  std::map<void*, size_t> blocks;
  size_t bytes = 0;
  for (size_t size : kSizes) {
    for (int i = 0; i < 20; i++) {
      void* block = poolalloc_heap_alloc(heap, size);
      ASSERT_NE(block, nullptr);
      pattern_fill(block, size, size);
      EXPECT_EQ(poolalloc_heap_of(block), heap);
      blocks[block] = api_usable_size(block);
      bytes += api_usable_size(block);
    }
  }
  EXPECT_EQ(stats_of(heap).live_blocks, blocks.size());
  EXPECT_EQ(stats_of(heap).live_bytes, bytes);
  EXPECT_EQ(visited(heap), blocks);
  EXPECT_TRUE(is_valid(heap));
  // Half of them go one by one.
  unsigned i = 0;
  for (auto each = blocks.begin(); each != blocks.end();) {
    if (i++ % 2 == 0) {
      ++each;
      continue;
    }
    bytes -= each->second;
    api_free(each->first);
    each = blocks.erase(each);
  }
  EXPECT_EQ(stats_of(heap).live_bytes, bytes);
  EXPECT_EQ(visited(heap), blocks);
  EXPECT_TRUE(is_valid(heap));
  void* own = api_malloc(100);
  EXPECT_EQ(poolalloc_heap_of(own), nullptr);
  api_free(own);
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, DeletingGivesEverythingBackWhoeverAllocatedIt) {
  for (int round = 0; round < 3; round++) {
    poolalloc_heap* heap = poolalloc_heap_new(nullptr);
    in_threads(4, [&](unsigned thread) {
      Random random(thread + 10u * unsigned(round));
      for (int i = 0; i < 5000; i++) {
        void* block = poolalloc_heap_alloc(heap, random.size_up_to(random.below(50) == 0 ? 1 << 20 : 3000));
        if (block == nullptr) ADD_FAILURE();
        if (random.below(3) == 0) api_free(block);
      }
    });
    EXPECT_TRUE(is_valid(heap));
    if (round == 1) {
      poolalloc_heap_release_all(heap);
      EXPECT_EQ(stats_of(heap).live_blocks, 0u);
      EXPECT_TRUE(visited(heap).empty());
      EXPECT_NE(poolalloc_heap_alloc(heap, 10), nullptr);
      EXPECT_TRUE(is_valid(heap));
    }
    poolalloc_heap_delete(heap);
    EXPECT_EQ(bytes_in_use(), bytes_before);
  }
  poolalloc_heap_delete(nullptr);
}

TEST_F(ProgramHeapTest, BehavesLikeTheModelUnderRandomUse) {
  struct Known {
    size_t size;
    uint64_t stamp;
  };
  for (uint64_t seed = 0; seed < 20; seed++) {
    SCOPED_TRACE(seed);
    Random random(seed);
    poolalloc_heap* heap = poolalloc_heap_new(nullptr);
    std::map<void*, Known> blocks;
    auto some = [&] { return std::next(blocks.begin(), long(random.below(blocks.size()))); };
    for (int i = 0; i < 3000 && !HasFailure(); i++) {
      const size_t size = random.size_up_to(random.below(100) == 0 ? 3 << 20 : 20000);
      const uint64_t what = random.below(100), stamp = random.next();
      void* block = nullptr;
      if (what < 40) {
        block = poolalloc_heap_alloc(heap, size);
      } else if (what < 45) {
        block = poolalloc_heap_calloc(heap, size, 1);
        ASSERT_TRUE(bytes_all(block, size, 0));
      } else if (what < 50) {
        const size_t alignment = size_t{1} << random.below(17);
        block = poolalloc_heap_aligned_alloc(heap, alignment, size);
        ASSERT_EQ(address_of(block) % alignment, 0u);
      } else if (what < 70 && !blocks.empty()) {
        auto [old, known] = *some();
        block = what % 2 == 0 ? api_realloc(old, size + 1) : poolalloc_heap_realloc(heap, old, size + 1);
        ASSERT_NE(block, nullptr);
        ASSERT_TRUE(bytes_all(block, std::min(size + 1, known.size), test::pattern_byte(old, known.stamp)));
        blocks.erase(old);
      } else if (!blocks.empty() && what < 99) {
        auto [old, known] = *some();
        ASSERT_TRUE(pattern_holds(old, known.size, known.stamp));
        what % 2 == 0 ? api_free(old) : in_thread([p = old] { api_free(p); });
        blocks.erase(old);
        continue;
      } else if (what == 99 && random.below(20) == 0) {
        poolalloc_heap_release_all(heap);
        blocks.clear();
      }
      if (block == nullptr) continue;
      ASSERT_EQ(poolalloc_heap_of(block), heap);
      ASSERT_EQ(blocks.count(block), 0u);
      pattern_fill(block, size, stamp);
      blocks[block] = {size, stamp};
    }
    EXPECT_EQ(visited(heap).size(), blocks.size());
    EXPECT_TRUE(is_valid(heap));
    for (auto& [block, known] : blocks) EXPECT_TRUE(pattern_holds(block, known.size, known.stamp));
    poolalloc_heap_delete(heap);
  }
}

TEST_F(ProgramHeapTest, TheLimitIsKeptAndNothingElseChanges) {
  for (size_t size : {100, 5000, 100000}) {
    const poolalloc_heap_options options{sizeof options, "a name that is longer than what is kept of it", 1 << 20};
    poolalloc_heap* heap = poolalloc_heap_new(&options);
    EXPECT_STREQ(poolalloc_heap_name(heap), "a name that is longer than what");
    std::vector<void*> blocks;
    errno = 0;
    for (void* block; (block = poolalloc_heap_alloc(heap, size)) != nullptr;) {
      pattern_fill(block, size, 1);
      blocks.push_back(block);
    }
    EXPECT_EQ(errno, ENOMEM);
    const poolalloc_heap_stats full = stats_of(heap);
    EXPECT_LE(full.live_bytes, full.limit_bytes);
    EXPECT_GT(full.live_bytes + 2 * size, full.limit_bytes);
    EXPECT_EQ(poolalloc_heap_calloc(heap, 1, 1 << 20), nullptr);
    EXPECT_EQ(poolalloc_heap_calloc(heap, SIZE_MAX / 2, 4), nullptr);
    EXPECT_EQ(api_realloc(blocks[0], 1 << 20), nullptr);
    EXPECT_EQ(poolalloc_heap_realloc(heap, blocks[0], 1 << 21), nullptr);
    EXPECT_TRUE(pattern_holds(blocks[0], size, 1));
    EXPECT_EQ(stats_of(heap).live_bytes, full.live_bytes);
    void* others = api_malloc(size);
    EXPECT_NE(others, nullptr) << "the limit is another heap's";
    api_free(others);
    api_free(blocks.back());
    EXPECT_NE(poolalloc_heap_alloc(heap, size), nullptr);
    EXPECT_EQ(stats_of(heap).peak_bytes, full.live_bytes);
    EXPECT_TRUE(is_valid(heap));
    poolalloc_heap_delete(heap);
  }
  const poolalloc_heap_options wrong{0, nullptr, 0};
  errno = 0;
  EXPECT_EQ(poolalloc_heap_new(&wrong), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(ProgramHeapTest, APushedHeapServesMallocAndItsRelatives) {
  poolalloc_heap *outer = poolalloc_heap_new(nullptr), *inner = poolalloc_heap_new(nullptr);
  void* before[] = {api_malloc(100), api_malloc(100000)};
  EXPECT_EQ(poolalloc_heap_push(outer), 0);
  std::vector<void*> blocks{
      api_malloc(10),        api_malloc(30000),       api_malloc(200000),         api_calloc(10, 10),
      api_calloc(10, 50000), api_memalign(4096, 100), api_memalign(1 << 20, 100), api_realloc(nullptr, 50)};
  for (void* block : blocks) EXPECT_EQ(poolalloc_heap_of(block), outer);
  EXPECT_EQ(poolalloc_heap_push(inner), 0);
  EXPECT_EQ(poolalloc_heap_of(api_malloc(10)), inner);
  // What is made larger stays where it is.
  blocks[0] = api_realloc(blocks[0], 5000);
  blocks[2] = api_realloc(blocks[2], 2000000);
  for (void*& block : before) {
    block = api_realloc(block, 1000000);
    EXPECT_EQ(poolalloc_heap_of(block), nullptr);
  }
  for (void* block : blocks) EXPECT_EQ(poolalloc_heap_of(block), outer);
  // Nor is what other threads do.
  in_thread([] {
    void* others = api_malloc(10);
    EXPECT_EQ(poolalloc_heap_of(others), nullptr);
    api_free(others);
  });
  EXPECT_EQ(poolalloc_heap_pop(), 0);
  EXPECT_EQ(poolalloc_heap_of(api_malloc(10)), outer);
  EXPECT_EQ(poolalloc_heap_pop(), 0);
  void* after = api_malloc(10);
  EXPECT_EQ(poolalloc_heap_of(after), nullptr);
  errno = 0;
  EXPECT_EQ(poolalloc_heap_pop(), -1);
  EXPECT_EQ(errno, EINVAL);
  for (int i = 0; i < 8; i++) EXPECT_EQ(poolalloc_heap_push(inner), 0);
  errno = 0;
  EXPECT_EQ(poolalloc_heap_push(inner), -1);
  EXPECT_EQ(errno, EAGAIN);
  for (int i = 0; i < 8; i++) EXPECT_EQ(poolalloc_heap_pop(), 0);
  for (void* block : before) api_free(block);
  api_free(after);
  poolalloc_heap_delete(outer);
  poolalloc_heap_delete(inner);
}

// However ready the thread's own heap is.
TEST_F(ProgramHeapTest, APushedHeapServesEverySize) {
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  for (unsigned c = 0; c < kClassCount; c++) {
    const size_t size = class_size(c);
    void* own[] = {api_malloc(size), api_malloc(size)};
    api_free(own[0]);
    EXPECT_EQ(poolalloc_heap_push(heap), 0);
    void* blocks[] = {api_malloc(size), api_calloc(1, size), api_realloc(nullptr, size), api_memalign(16, size)};
    EXPECT_EQ(poolalloc_heap_pop(), 0);
    for (void* block : blocks) {
      EXPECT_EQ(poolalloc_heap_of(block), heap) << size;
      api_free(block);
    }
    api_free(own[1]);
  }
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, AThreadThatEndsWithAPushedHeapLetsItGo) {
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  in_thread([&] {
    poolalloc_heap_push(heap);
    for (int i = 0; i < 1000; i++) api_malloc(100);
  });
  EXPECT_EQ(stats_of(heap).live_blocks, 1000u);
  // The thread's heap, adopted by the next one, is as others.
  in_thread([] { api_free(api_malloc(100)); });
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, ABlockOfAnotherHeapMovesOrStays) {
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  for (size_t size : {100, 100000}) {
    void* block = api_malloc(size);
    pattern_fill(block, size, 3);
    const unsigned char value = test::pattern_byte(block, 3);
    void* moved = poolalloc_heap_realloc(heap, block, size + 10);
    EXPECT_EQ(poolalloc_heap_of(moved), heap);
    EXPECT_TRUE(bytes_all(moved, size, value));
    // Memory that is handed out again is not zero.
    memset(poolalloc_heap_alloc(heap, 300), 'x', 300);
    poolalloc_heap_release_all(heap);
    for (size_t length = 0; length < 300; length++) {
      const std::string text(length, 'a');
      char* copy = poolalloc_heap_strdup(heap, text.c_str());
      ASSERT_EQ(copy, text);
      memset(copy, 'x', api_usable_size(copy));
      EXPECT_EQ(poolalloc_heap_realloc(heap, copy, 0), nullptr);
    }
    moved = poolalloc_heap_alloc(heap, size);
    api_free(moved);
  }
  EXPECT_EQ(stats_of(heap).live_blocks, 0u);
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, ThreadsExchangeItsBlocks) {
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  constexpr unsigned kThreads = 4, kSlots = 64;
  std::atomic<void*> slots[kSlots] = {};
  std::atomic<unsigned> violations{0};
  in_threads(kThreads, [&](unsigned thread) {
    Random random(thread);
    for (int i = 0; i < 40000; i++) {
      const size_t size = 16 + random.size_up_to(random.below(200) == 0 ? 200000 : 2000);
      char* block = static_cast<char*>(poolalloc_heap_alloc(heap, size));
      memcpy(block, &size, sizeof size);
      memset(block + sizeof size, int(size & 0xff), size - sizeof size);
      char* other = static_cast<char*>(slots[random.below(kSlots)].exchange(block));
      if (other == nullptr) continue;
      size_t its_size;
      memcpy(&its_size, other, sizeof its_size);
      violations += !bytes_all(other + sizeof its_size, its_size - sizeof its_size, (unsigned char)(its_size & 0xff));
      api_free(other);
    }
  });
  EXPECT_EQ(violations, 0u);
  unsigned left = 0;
  for (std::atomic<void*>& slot : slots) left += slot.load() != nullptr;
  EXPECT_EQ(stats_of(heap).live_blocks, left);
  EXPECT_EQ(visited(heap).size(), left);
  EXPECT_TRUE(is_valid(heap));
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, AForkedChildUsesAHeapThatOthersWereChanging) {
  if (test::kThreadSanitizer) GTEST_SKIP();
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  std::atomic<bool> stops{false};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 3; i++) {
    threads.emplace_back([&] {
      while (!stops) {
        void* block = poolalloc_heap_alloc(heap, 200);
        api_free(poolalloc_heap_alloc(heap, 100000));
        api_free(block);
      }
    });
  }
  void* kept = poolalloc_heap_alloc(heap, 100);
  for (int round = 0; round < 50; round++) {
    const int result = test::in_child([&] {
      api_free(kept);
      void* block = poolalloc_heap_alloc(heap, 100);
      void* large = poolalloc_heap_alloc(heap, 100000);
      poolalloc_heap_delete(heap);
      poolalloc_heap* other = poolalloc_heap_new(nullptr);
      return block == nullptr || large == nullptr || other == nullptr || poolalloc_heap_alloc(other, 10) == nullptr;
    });
    EXPECT_EQ(result, 0);
  }
  stops = true;
  for (std::thread& each : threads) each.join();
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, ASampledThreadKeepsToItsTarget) {
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  in_thread([&] {
    std::vector<void*> own;
    for (int i = 0; i < 100; i++) own.push_back(api_malloc(40));
    sample_start(1000);
    for (int i = 0; i < 100; i++) own.push_back(api_malloc(40));
    poolalloc_heap_push(heap);
    // What realloc moves stays with the thread.
    for (void*& block : own) block = api_realloc(block, 100);
    for (int i = 0; i < 200; i++) EXPECT_EQ(poolalloc_heap_of(api_malloc(100)), heap);
    for (void* block : own) EXPECT_EQ(poolalloc_heap_of(block), nullptr);
    poolalloc_heap_pop();
    for (void* block : own) api_free(block);
    sample_mallocs.interval.store_relaxed(0);
  });
  EXPECT_EQ(stats_of(heap).live_blocks, 200u);
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, AFreeBlockThatWasWrittenToIsSaidWhenTheListIsUsed) {
  const MisusePolicy policy = misuse_policy.load_relaxed();
  misuse_policy.store_relaxed(MisusePolicy::ignore);
  for (size_t size : {16, 48, 1000}) {
    poolalloc_heap* heap = poolalloc_heap_new(nullptr);
    std::vector<void*> blocks;
    for (int i = 0; i < 8; i++) blocks.push_back(poolalloc_heap_alloc(heap, size));
    const uint64_t before = misuse_count();
    poolalloc_heap_free(heap, blocks[3]);
    memset(blocks[3], 0x41, 16);
    for (int i = 0; i < 3; i++) EXPECT_NE(poolalloc_heap_alloc(heap, size), blocks[3]);
    EXPECT_EQ(misuse_count(), before + 1) << size;
    poolalloc_heap_delete(heap);
  }
  misuse_policy.store_relaxed(policy);
  api_malloc_trim(0);
}

TEST_F(ProgramHeapTest, ABlockThatBeginsWithTheCopyOfALinkIsNoFreeOne) {
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  for (size_t size : {16, 100, 1000, 9000}) {
    uintptr_t* freed = static_cast<uintptr_t*>(poolalloc_heap_alloc(heap, size));
    uintptr_t* block = static_cast<uintptr_t*>(poolalloc_heap_alloc(heap, size));
    const size_t before = stats_of(heap).live_blocks;
    const uint64_t misuses = misuse_count();
    api_free(freed);
    *block = *freed;
    ASSERT_TRUE(block_is_linked(reinterpret_cast<Block*>(block)));
    api_free(block);
    EXPECT_EQ(stats_of(heap).live_blocks, before - 2);
    EXPECT_EQ(misuse_count(), misuses);
  }
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, ARefusalByTheLimitChangesNothingElse) {
  const poolalloc_heap_options options{sizeof options, nullptr, 1 << 20};
  poolalloc_heap* heap = poolalloc_heap_new(&options);
  api_free(memset(api_malloc(5 << 20), 1, 5 << 20));
  auto figures = [] {
    return std::tuple(accounts.mapped.load_relaxed(), accounts.peak.load_relaxed(), accounts.purged.load_relaxed());
  };
  const auto before = figures();
  for (size_t size : {size_t{2} << 20, size_t{16} << 30}) {
    EXPECT_EQ(poolalloc_heap_alloc(heap, size), nullptr);
    EXPECT_EQ(poolalloc_heap_aligned_alloc(heap, 1 << 16, size), nullptr);
    EXPECT_EQ(poolalloc_heap_calloc(heap, 1, size), nullptr);
  }
  EXPECT_EQ(figures(), before);
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, AReleasedHeapKeepsLittle) {
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  for (size_t size = 1; size < 65536; size = size * 9 / 8 + 1) poolalloc_heap_alloc(heap, size);
  poolalloc_heap_release_all(heap);
  EXPECT_LE(slices_in_use() - in_use_before, 16);
  poolalloc_heap_delete(heap);
}

TEST_F(ProgramHeapTest, MisuseIsNoticedAndDoesNothing) {
  misuse_policy.store_relaxed(MisusePolicy::ignore);
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  const uint64_t before = misuse_count();
  void* block = poolalloc_heap_alloc(heap, 100);
  void* large = poolalloc_heap_alloc(heap, 100000);
  api_free(block);
  api_free(block);
  EXPECT_EQ(misuse_count(), before + 1);
  api_free(large);
  api_free(large);
  EXPECT_EQ(misuse_count(), before + 2);
  EXPECT_EQ(stats_of(heap).live_blocks, 0u);
  poolalloc_heap_push(heap);
  poolalloc_heap_delete(heap);
  EXPECT_EQ(misuse_count(), before + 3);
  poolalloc_heap_pop();
  poolalloc_heap_alloc(heap, 10);
  void* kept = poolalloc_heap_alloc(heap, 300000);
  auto visit = [](void* block, size_t size, void* context) {
    EXPECT_EQ(poolalloc_heap_alloc(static_cast<poolalloc_heap*>(context), 10), nullptr);
    api_free(block);
    poolalloc_heap_delete(static_cast<poolalloc_heap*>(context));
    // What is not of the heap may be used.
    api_free(api_malloc(size));
    return 1;
  };
  EXPECT_EQ(poolalloc_heap_visit(heap, visit, heap), 1);
  EXPECT_EQ(misuse_count(), before + 3 + 2 * 3);
  EXPECT_EQ(stats_of(heap).live_blocks, 2u);
  EXPECT_EQ(poolalloc_heap_of(kept), heap);
  void* gone = poolalloc_heap_alloc(heap, 50);
  EXPECT_TRUE(is_valid(heap));
  poolalloc_heap_delete(heap);
  api_free(gone);
  EXPECT_EQ(misuse_count(), before + 10);
  misuse_policy.store_relaxed(MisusePolicy::abort);
}

}  // namespace
}  // namespace poolalloc
