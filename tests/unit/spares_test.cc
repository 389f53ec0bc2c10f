// Laws of spares (heap/spares.h): a heap keeps what it gave back and needed again, no more than its share, and not
// longer than that lasts.
//
// Always holds: each test frees all that it allocated, and then no more slices are in use than before.
#include "heap/spares.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "chunk/accounts.h"
#include "heap/evict.h"
#include "heap_test.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::Random;
using test::slices_in_use;

class SparesTest : public test::HeapTest {
 protected:
  void SetUp() override {
    HeapTest::SetUp();
    take(ballast_, 256 * kSliceSize, 512);
  }
  void TearDown() override {
    drop(ballast_);
    HeapTest::TearDown();
  }

  static void take(std::vector<void*>& blocks, size_t bytes, size_t size) {
    for (; bytes >= size; bytes -= size) blocks.push_back(api_malloc(size));
  }
  static void drop(std::vector<void*>& blocks) {
    for (void* p : blocks) api_free(p);
    blocks.clear();
  }
  // Pools of such blocks come and go.
  static void come_and_go(size_t size, size_t bytes = 4 * kWidePoolSize) {
    std::vector<void*> blocks;
    for (int i = 0; i < 4; i++) {
      take(blocks, bytes, size);
      drop(blocks);
    }
  }
  static Spares& spares() { return thread_heap->spares; }

 private:
  std::vector<void*> ballast_;  // the heap has its share of this
};

TEST_F(SparesTest, WhatIsNeededAgainIsKept) {
  std::vector<void*> blocks;
  for (size_t size : {2048, 12000, 40000}) {
    SCOPED_TRACE(size);
    come_and_go(size);
    EXPECT_GT(spares().slices, 0);
    const int64_t before = slices_in_use();
    const int kept = spares().slices;
    take(blocks, 3 * kWidePoolSize, size);
    EXPECT_LT(spares().slices, kept);
    drop(blocks);
    EXPECT_EQ(slices_in_use(), before) << "what was taken from the spares goes back to them";
    api_malloc_trim(0);
  }
}

TEST_F(SparesTest, WhatIsNotNeededAgainIsGivenBack) {
  std::vector<void*> blocks;
  const int64_t before = slices_in_use();
  take(blocks, 64 * kSliceSize, 2048);
  drop(blocks);
  EXPECT_EQ(spares().slices, 0);
  EXPECT_LE(slices_in_use(), before + 1) << "but for the active pool";
}

TEST_F(SparesTest, ThereAreNeverMoreThanTheHeapsShare) {
  Random random(7);
  std::vector<void*> live(400);
  unsigned most = 0;
  for (int i = 0; i < 100'000; i++) {
    void*& slot = live[random.below(live.size())];
    api_free(slot);
    slot = i % 20'000 < 15'000 ? api_malloc(1 + random.below(kPoolBlockMax)) : nullptr;
    unsigned slices = 0;
    for (unsigned k = 0; k < Spares::kLengths; k++) {
      unsigned runs = 0;
      for (BlockPool* run = spares().first[k]; run != nullptr; run = run->next, runs++) {
        ASSERT_TRUE(run->state == SliceState::free && run->owner == nullptr && run->reciprocal == 0);
      }
      ASSERT_EQ(runs, spares().count[k]);
      slices += runs * (k + 1);
    }
    ASSERT_EQ(slices, spares().slices);
    ASSERT_LE(slices, 16u);
    most = slices > most ? slices : most;
  }
  EXPECT_GT(most, 0u);
  drop(live);
}

TEST_F(SparesTest, ASmallHeapKeepsNothing) {
  std::thread([] {
    come_and_go(12000, 2 * kWidePoolSize);
    EXPECT_EQ(spares().slices, 0);
  }).join();
}

TEST_F(SparesTest, TrimGivesThemBack) {
  come_and_go(12000);
  const int kept = spares().slices;
  ASSERT_GT(kept, 0);
  const int64_t before = slices_in_use();
  api_malloc_trim(0);
  EXPECT_EQ(spares().slices, 0);
  EXPECT_LE(slices_in_use(), before - kept);
}

TEST_F(SparesTest, TheyAreIdleAfterAWindowWithoutUse) {
  come_and_go(12000);
  ASSERT_GT(spares().slices, 0);
  EXPECT_FALSE(spares_are_idle(*thread_heap));
  const uint64_t window = spares().window;
  spares().window = accounts.retention.window_start.load_relaxed() - kRetentionWindow_ms;
  EXPECT_FALSE(spares_are_idle(*thread_heap)) << "the last one may not be over for long";
  spares().window -= kRetentionWindow_ms;
  EXPECT_TRUE(spares_are_idle(*thread_heap));
  spares().window = window;
}

TEST_F(SparesTest, AThreadThatEndsLeavesNone) {
  Heap* heap = nullptr;
  std::thread([&] {
    std::vector<void*> ballast;
    take(ballast, 256 * kSliceSize, 512);
    come_and_go(12000);
    EXPECT_GT(spares().slices, 0);
    heap = thread_heap;
    drop(ballast);
  }).join();
  EXPECT_EQ(heap->spares.slices, 0);
}

TEST_F(SparesTest, NoMemoryIsRefusedWhileThereAreAny) {
  come_and_go(12000);
  ASSERT_GT(spares().slices, 0);
  // All that is in use, and not a slice more.
  retention_policy.hard.store_relaxed(accounts.in_use.load_relaxed());
  std::vector<void*> blocks;
  for (int i = 0; i < 20; i++) blocks.push_back(api_malloc(kPoolBlockMax));
  for (void* p : blocks) EXPECT_TRUE(p != nullptr || spares().slices == 0);
  retention_policy.hard.store_relaxed(kUnlimited);
  drop(blocks);
}

}  // namespace
}  // namespace poolalloc
