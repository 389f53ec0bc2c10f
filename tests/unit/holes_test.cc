// Laws of holes (heap/holes.h): a few live blocks do not keep the memory around them, and what lives is left
// alone.
//
// Always holds: each test ends with every block freed and every heap valid.
#include "heap/holes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "chunk/huge_pages.h"
#include "chunk/region.h"
#include "heap_test.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::pattern_fill;
using test::pattern_holds;
using test::Random;

constexpr size_t kTotal = size_t{96} << 20;
// Blocks of which few fill a pool, so that checks of the heap take little time; one in so many stays.
constexpr size_t kSize = 6000;
constexpr size_t kKeptOf = 20;

class Holes : public test::HeapTest {
 protected:
  void SetUp() override {
    HeapTest::SetUp();
    if (os_page_size() == kSliceSize) GTEST_SKIP() << "a pool is one page";
    forget();
  }
  void TearDown() override {
    retention_policy.floor.store_relaxed(kRetentionFloor);
    huge_pages.store_relaxed(HugePages::adaptive);
    HeapTest::TearDown();
  }
  // As if what was drawn from free memory had been long ago.
  static void forget() {
    LockGuard guard(thread_heap->gate->lock);
    heap_loose_forget(*thread_heap);
    Retention& all = accounts.retention;
    for (auto* field : {&all.draw, &all.regret, &all.churn, &all.high, &all.previous_high}) field->store_relaxed(0);
  }
  // `total` bytes of blocks of the size.
  void fill(size_t size) {
    while (blocks.size() < total / size) {
      char* p = static_cast<char*>(api_malloc(size));
      ASSERT_NE(p, nullptr);
      pattern_fill(p, size, 1);
      blocks.push_back(p);
    }
  }
  // Frees all but one in `kept_of`, in random order.
  void thin_out(size_t size, size_t kept_of) {
    Random random(size);
    for (size_t i = blocks.size(); i-- > 1;) std::swap(blocks[i], blocks[random.below(i + 1)]);
    size_t kept = blocks.size() / kept_of;
    for (; blocks.size() > kept; blocks.pop_back()) {
      ASSERT_TRUE(pattern_holds(blocks.back(), size, 1));
      api_free(blocks.back());
    }
  }
  // Goes through many slow paths without needing memory of the size, for long enough that what is loose lasts.
  static void do_something_else() {
    for (int window = 0; window < 4; window++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(130));
      for (int i = 0; i < 500; i++) heap_slow_path_end(0);
    }
  }
  void free_all(size_t size) { thin_out(size, SIZE_MAX); }
  static uint64_t purged() { return accounts.purged.load_relaxed(); }
  static unsigned hidden() {
    unsigned count = 0;
    for (const PoolChain& chain : thread_heap->chains) {
      for (BlockPool* pool = chain.first; pool != nullptr; pool = pool->next) count += pool_hidden(pool);
    }
    return count;
  }

  std::vector<char*> blocks;
  size_t total = kTotal;
};

TEST_F(Holes, AFewSurvivorsDoNotKeepTheMemoryAroundThem) {
  struct {
    size_t size, kept_of;
  } const cases[] = {{1000, 60}, {6000, 15}, {20000, 20}};
  for (auto [size, kept_of] : cases) {
    forget();
    fill(size);
    thin_out(size, kept_of);
    do_something_else();
    EXPECT_GT(hidden() * size, kTotal / 24) << "blocks of " << size;
    EXPECT_LT(accounts.pool_loose.load_relaxed(), int64_t(kTotal / 2)) << "blocks of " << size;
    for (char* each : blocks) EXPECT_TRUE(pattern_holds(each, size, 1));
    // All can be used again.
    fill(size);
    EXPECT_EQ(std::set<char*>(blocks.begin(), blocks.end()).size(), blocks.size());
    free_all(size);
  }
}

TEST_F(Holes, BlocksThatDieTogetherLeaveHolesHoweverSmallTheyAre) {
  huge_pages.store_relaxed(HugePages::off);  // they are torn only for more
  fill(240);
  // Of each pool, about the first half.
  std::vector<char*> kept;
  for (char* each : blocks) address_of(each) % kSliceSize < kSliceSize / 2 ? api_free(each) : kept.push_back(each);
  blocks.swap(kept);
  do_something_else();
  EXPECT_GT(hidden() * 240, kTotal / 8);
  free_all(240);
}

TEST_F(Holes, WhatIsNeededAgainAndAgainIsKept) {
  using Clock = std::chrono::steady_clock;
  retention_policy.floor.store_relaxed(16);
  total = kTotal / 16;
  Clock::time_point start = Clock::now();
  Clock::duration longest{};
  while (Clock::now() - start < std::chrono::seconds(1)) {
    Clock::time_point round = Clock::now();
    fill(kSize);
    thin_out(kSize, kKeptOf);
    for (int i = 0; i < 500; i++) heap_slow_path_end(0);
    longest = std::max(longest, Clock::now() - round);
  }
  if (longest < std::chrono::milliseconds(100)) {
    EXPECT_EQ(hidden(), 0u);
  }
  do_something_else();
  EXPECT_GT(hidden() * kSize, total / 24);
  free_all(kSize);
}

TEST_F(Holes, NothingIsGivenBackWhenTheUserDoesNotWantIt) {
  retention_policy.floor.store_relaxed(kUnlimited);
  uint64_t before = purged();
  fill(kSize);
  thin_out(kSize, kKeptOf);
  do_something_else();
  EXPECT_EQ(purged(), before);
  EXPECT_EQ(hidden(), 0u);
  free_all(kSize);
}

TEST_F(Holes, LittleIsNotWorthTheWork) {
  std::vector<void*> few;
  for (int i = 0; i < 8000; i++) few.push_back(api_malloc(1000));
  for (size_t i = 0; i < few.size(); i++) {
    if (i % 100 != 0) api_free(few[i]);
  }
  uint64_t before = purged();
  std::vector<void*> others;
  for (int i = 0; i < 100000; i++) others.push_back(api_malloc(40));
  for (void* p : others) api_free(p);
  EXPECT_EQ(purged(), before);
  EXPECT_EQ(hidden(), 0u);
  for (size_t i = 0; i < few.size(); i += 100) api_free(few[i]);
}

TEST_F(Holes, AThreadThatEndsLeavesNothingInTheAccounts) {
  int64_t loose = accounts.pool_loose.load_relaxed();
  test::in_thread([&] {
    fill(kSize);
    thin_out(kSize, kKeptOf);
    do_something_else();
    EXPECT_NE(accounts.pool_loose.load_relaxed(), loose);
  });
  EXPECT_EQ(accounts.pool_loose.load_relaxed(), loose);
  free_all(kSize);
}

TEST_F(Holes, PoolsWithHolesAreTrimmedEvictedAndInheritedLikeOthers) {
  for (int round = 0; round < 3; round++) {
    forget();
    test::in_thread([&] {
      fill(kSize);
      thin_out(kSize, kKeptOf);
      do_something_else();
      EXPECT_GT(hidden(), 0u);
      if (round == 1) api_malloc_trim(0);
    });
    // This thread's heap is another one; the survivors' pools have none.
    api_malloc_trim(0);
    for (char* each : blocks) EXPECT_TRUE(pattern_holds(each, kSize, 1));
    test::in_thread([&] { fill(kSize); });
    free_all(kSize);
  }
}

}  // namespace
}  // namespace poolalloc
