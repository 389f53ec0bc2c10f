// Laws of spares (heap/spares.h): a heap keeps what it gave back and needed again, no more than its share, and not
// longer than that lasts.
//
// Always holds: each test frees all that it allocated, and then no more slices are in use than before.
#include "heap/spares.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "chunk/accounts.h"
#include "heap/evict.h"
#include "heap_test.h"
#include "os/system_call.h"
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
    ASSERT_TRUE(heap_is_valid(*thread_heap));
    const unsigned slices = spares().slices;
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

TEST_F(SparesTest, TheyGoAsTheHeapRunsEmpty) {
  for (size_t size : {5000, 12000, 40000}) {
    std::thread([=] {
      SCOPED_TRACE(size);
      std::vector<void*> blocks;
      for (int i = 0; i < 4; i++) {
        take(blocks, 400 * kSliceSize, size);
        come_and_go(size);
        if (i == 3) {
          EXPECT_GT(spares().slices, 0);
        }
        drop(blocks);
        EXPECT_LE(spares().slices * 16u, thread_heap->slice_count);
      }
    }).join();
  }
}

TEST_F(SparesTest, NoneAreKeptWhereNothingMayBe) {
  retention_policy.floor.store_relaxed(0);
  retention_policy.ceiling.store_relaxed(0);
  come_and_go(12000);
  EXPECT_EQ(spares().slices, 0);
  retention_policy.floor.store_relaxed(kRetentionFloor);
  retention_policy.ceiling.store_relaxed(kUnlimited);
}

// Makes a thread with spares, which sleeps until the end of `body`.
template <typename Body>
void beside_sleeper(Body body) {
  std::atomic<Heap*> sleeper{nullptr};
  std::atomic<bool> ends{false};
  std::thread thread([&] {
    std::vector<void*> blocks;
    for (int i = 0; i < 300 * 16; i++) blocks.push_back(api_malloc(4000));
    for (int i = 0; i < 4; i++) {
      std::vector<void*> more;
      for (int k = 0; k < 150; k++) more.push_back(api_malloc(12000));
      for (void* p : more) api_free(p);
    }
    EXPECT_GT(thread_heap->spares.slices, 0);
    sleeper = thread_heap;
    while (!ends) std::this_thread::yield();
    for (void* p : blocks) api_free(p);
  });
  while (sleeper == nullptr) std::this_thread::yield();
  body(*sleeper);
  ends = true;
  thread.join();
}

TEST_F(SparesTest, AtAHardLimitThoseOfAllHeapsAreUsed) {
  come_and_go(12000);
  beside_sleeper([](const Heap& sleeper) {
    const int own = spares().slices, others = sleeper.spares.slices;
    ASSERT_GT(own, 0);
    // Free memory apart there is room for less than a large block, which the spares make up for.
    const size_t size = size_t(own + others) * kSliceSize;
    retention_policy.hard.store_relaxed(accounts.in_use.load_relaxed() + int64_t(kSliceSize));
    void* block = api_malloc(size);
    retention_policy.hard.store_relaxed(kUnlimited);
    EXPECT_NE(block, nullptr);
    EXPECT_EQ(spares().slices + sleeper.spares.slices, 0);
    api_free(block);
  });
}

TEST_F(SparesTest, TrimGivesBackThoseOfASleeperWithoutABarrier) {
  beside_sleeper([](const Heap& sleeper) {
    if constexpr (kHasFaults) {
      stand_in.store_relaxed([](long number, const long(&a)[6]) {
        if (number == SYS_membarrier) return -long{EPERM};
        return kernel_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
      });
    }
    api_malloc_trim(0);
    stand_in.store_relaxed(nullptr);
    EXPECT_EQ(sleeper.spares.slices, 0);
  });
}

TEST_F(SparesTest, ThoseOfTheOnlyThreadThatIsAwakeGoAfterAWhile) {
  come_and_go(12000);
  ASSERT_GT(spares().slices, 0);
  const uint64_t until = os_clock_ms() + 20 * kRetentionWindow_ms;
  while (spares().slices != 0 && os_clock_ms() < until) {
    // A pool that runs empty and is kept.
    for (int i = 0; i < 1000; i++) api_free(api_malloc(40));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(spares().slices, 0);
}

TEST_F(SparesTest, ThoseOfASleeperGoAfterAWhile) {
  beside_sleeper([](const Heap& sleeper) {
    const uint64_t until = os_clock_ms() + 20 * kRetentionWindow_ms;
    auto kept = [&] {
      LockGuard guard(sleeper.gate->lock);
      return sleeper.spares.slices;
    };
    EXPECT_GT(kept(), 0);
    while (kept() != 0 && os_clock_ms() < until) {
      for (int i = 0; i < 1000; i++) api_free(api_malloc(40));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(kept(), 0);
  });
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
