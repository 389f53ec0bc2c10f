// Laws of the door for samples (heap/sample.h): how many mallocs are sampled, and what becomes of metered blocks.
//
// Always holds: sampling is on from the first test on, one malloc in kInterval, with a guard that refuses after a few
// blocks, so that nearly all are served by pools; each test frees all that it allocated.
#include <gtest/gtest.h>
#include <math.h>
#include <sys/mman.h>

#include <set>

#include "heap/find.h"
#include "heap/guard.h"
#include "heap_test.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::in_thread;
using test::in_threads;

constexpr uint64_t kInterval = 1000;

class Sample : public test::HeapTest {
 protected:
  void SetUp() override {
    guard_start(4);
    if (!sample_is_used.load_relaxed()) sample_start(kInterval);
    HeapTest::SetUp();
  }
};

unsigned metered_count(const Heap& heap, unsigned c) {
  unsigned count = 0;
  for (const Block* block = heap.meter.lists[c].head; !is_list_end(block); count++) {
    if (link_step(block) >= kSliceSize) return count + 1;
    block = block_after(block, link_step(block));
  }
  return count;
}

// The number of samples among `count` mallocs, each with a chance of one in kInterval, is within five deviations.
void expect_sampled(uint64_t count, uint64_t sampled) {
  double expected = double(count) / kInterval;
  EXPECT_NEAR(double(sampled), expected, 5 * sqrt(expected));
}

TEST_F(Sample, OneBlockAgainAndAgainIsSampledOneTimeInSoMany) {
  constexpr uint64_t kCount = 2'000'000;
  uint64_t before = sample_count();
  for (uint64_t i = 0; i < kCount; i++) api_free(api_malloc(48));
  expect_sampled(kCount, sample_count() - before);
}

TEST_F(Sample, BlocksOfManySizesAreSampledAlike) {
  constexpr uint64_t kCount = 3'000'000;
  constexpr size_t kSizes[] = {0, 1, 16, 17, 100, 128, 129, 500, 1024, 1025, 3000, 5000, 40000};
  std::vector<void*> kept(997);
  test::Random random(1);
  uint64_t before = sample_count();
  for (uint64_t i = 0; i < kCount; i++) {
    void*& p = kept[random.below(kept.size())];
    api_free(p);
    p = api_malloc(kSizes[random.below(std::size(kSizes))]);
    ASSERT_NE(p, nullptr);
  }
  for (void* p : kept) api_free(p);
  expect_sampled(kCount, sample_count() - before);
}

TEST_F(Sample, ClassesThatComeRarelyAreSampledAlike) {
  // Of 1000 mallocs 10 are of a class of their own, whose metered list lasts long.
  constexpr uint64_t kRounds = 20'000;
  uint64_t rare = 0;
  for (uint64_t i = 0; i < kRounds; i++) {
    for (int j = 0; j < 90; j++) api_free(api_malloc(64));
    uint64_t before = sample_count();
    for (int j = 0; j < 10; j++) api_free(api_malloc(320));
    rare += sample_count() - before;
  }
  expect_sampled(kRounds * 10, rare);
}

TEST_F(Sample, ThreadsThatAllocateLittleAreSampledAlike) {
  constexpr uint64_t kThreads = 2000, kEach = 300;
  uint64_t before = sample_count();
  for (uint64_t i = 0; i < kThreads; i++) {
    in_thread([] {
      for (uint64_t j = 0; j < kEach; j++) api_free(api_malloc(16 + j % 7 * 64));
    });
  }
  expect_sampled(kThreads * kEach, sample_count() - before);
}

TEST_F(Sample, MeteredBlocksAreThePoolsOwnAndLive) {
  void* p = api_malloc(200);
  unsigned c = size_class_of(200);
  EXPECT_TRUE(heap_is_valid(*thread_heap));
  for (const Block* block = thread_heap->meter.lists[c].head; !is_list_end(block);) {
    const BlockPool* pool = pool_find(block);
    ASSERT_NE(pool, nullptr);
    EXPECT_EQ(pool->owner, thread_heap);
    EXPECT_GT(block_pool_live(*pool), int64_t(metered_count(*thread_heap, c)) - 1);
    if (link_step(block) >= kSliceSize) break;
    block = block_after(block, link_step(block));
  }
  EXPECT_LE(metered_count(*thread_heap, c), 32u);
  api_free(p);
}

TEST_F(Sample, MeteredBlocksGoBackWhenTheirThreadEnds) {
  Heap* heap = nullptr;
  in_thread([&] {
    for (size_t size = 0; size <= kSmallMax; size += 16) api_free(api_malloc(size));
    heap = thread_heap;
  });
  ASSERT_NE(heap, nullptr);
  for (const FreeList& list : heap->meter.lists) EXPECT_TRUE(is_list_end(list.head));
  for (const PoolChain& chain : heap->chains) {
    EXPECT_EQ(chain.active, nullptr);
    EXPECT_EQ(chain.first, nullptr);
  }
  EXPECT_TRUE(heap_is_valid(*heap));
}

TEST_F(Sample, MeteredBlocksGoBackWhenMemoryIsTrimmed) {
  for (size_t size = 0; size <= kSmallMax; size += 16) api_free(api_malloc(size));
  api_malloc_trim(0);
  for (const FreeList& list : thread_heap->meter.lists) EXPECT_TRUE(is_list_end(list.head));
  api_free(api_malloc(16));
}

TEST_F(Sample, BlocksAreHandedOutOnceEach) {
  in_threads(4, [](unsigned t) {
    test::Random random(t + 1);
    std::vector<std::pair<void*, size_t>> kept(2000, {nullptr, 0});
    for (int i = 0; i < 200'000; i++) {
      auto& [p, size] = kept[random.below(kept.size())];
      if (p != nullptr) {
        ASSERT_TRUE(test::pattern_holds(p, size, size));
      }
      api_free(p);
      size = random.size_up_to(2000);
      p = api_malloc(size);
      test::pattern_fill(p, size, size);
    }
    for (auto [p, size] : kept) api_free(p);
  });
}

TEST_F(Sample, AForkedChildFindsEveryHeapWhole) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; t++) {
    threads.emplace_back([&, t] {
      test::Random random(t);
      while (!stop) {
        void* blocks[64];
        for (void*& p : blocks) p = api_malloc(random.below(1025));
        for (void* p : blocks) api_free(p);
      }
    });
  }
  for (int i = 0; i < 100; i++) {
    const int result = test::in_child([&] {
      for (int j = 0; j < 2000; j++) api_free(api_malloc(size_t(j) % 1025));
      // Heaps of the threads that are gone are taken over by whoever comes by.
      for (HeapGate* each = heap_list(); each != nullptr; each = each->next) {
        if (!heap_is_valid(*each->heap)) return 1;
      }
      api_malloc_trim(0);
      for (HeapGate* each = heap_list(); each != nullptr; each = each->next) {
        if (!heap_is_valid(*each->heap)) return 2;
      }
      return 0;
    });
    ASSERT_EQ(result, 0);
  }
  stop = true;
  for (std::thread& each : threads) each.join();
}

// Or each request of a server that forks for each would have the same samples.
TEST_F(Sample, ChildrenDrawNumbersOfTheirOwn) {
  api_free(api_malloc(100));
  auto* drawn = static_cast<uint64_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  constexpr unsigned kChildren = 8;
  for (unsigned i = 0; i < kChildren; i++)
    EXPECT_EQ(test::in_child([&] { return drawn[i] = thread_heap->meter.random, 0; }), 0);
  std::set<uint64_t> all(drawn, drawn + kChildren);
  all.insert(thread_heap->meter.random);
  EXPECT_EQ(all.size(), kChildren + 1);
  munmap(drawn, 4096);
}

}  // namespace
}  // namespace poolalloc
