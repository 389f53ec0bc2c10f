// Laws of remote frees (heap/remote.h): whatever thread frees a block, it comes back to its pool.
//
// Always holds: each test ends with every block freed by somebody, and then, once the main thread has
// collected, no more slices are in use than before.
#include "heap/remote.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

#include "heap/find.h"
#include "heap_test.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::in_thread;
using test::in_threads;
using test::pattern_fill;
using test::pattern_holds;
using test::Random;
using test::slices_in_use;

constexpr size_t kSizes[] = {1, 16, 48, 100, 1000, 1024, 3000, 8192, 10000, 40000, 65536};

class RemoteFree : public test::HeapTest {
 protected:
  void TearDown() override {
    HeapTest::TearDown();
    for (HeapGate* each = heap_list(); each != nullptr; each = each->next)
      EXPECT_EQ(each->heap->mailbox.load_relaxed(), nullptr);
  }
};

std::vector<void*> alloc_many(size_t size, unsigned count) {
  std::vector<void*> blocks;
  for (unsigned i = 0; i < count; i++) {
    blocks.push_back(api_malloc(size));
    pattern_fill(blocks.back(), size, size);
  }
  return blocks;
}
void free_all(const std::vector<void*>& blocks) {
  for (void* p : blocks) api_free(p);
}
bool mail_waits(const Heap* heap) { return heap->mailbox.load_relaxed() != nullptr; }

TEST_F(RemoteFree, BlocksFreedByAnotherThreadComeBackWhenItEnds) {
  for (size_t size : kSizes) {
    std::vector<void*> blocks = alloc_many(size, 2000);
    in_thread([&] { free_all(blocks); });
    api_malloc_trim(0);
    EXPECT_EQ(slices_in_use(), in_use_before) << size;
  }
}

TEST_F(RemoteFree, WhatARefillTakesInGoesBack) {
  // Freed in random order, so that those who free look into the mailbox in vain.
  const int64_t ceiling = retention_policy.ceiling.load_relaxed();
  retention_policy.ceiling.store_relaxed(0);
  for (size_t size : {64, 1024, 4096}) {
    std::vector<void*> blocks = alloc_many(size, unsigned((64 << 20) / size));
    in_thread([&] {
      for (size_t from : {0, 1}) {
        for (size_t i = from; i < blocks.size(); i += 2) api_free(blocks[i]);
      }
    });
    std::vector<void*> more = alloc_many(40, 2000);
    EXPECT_LT(accounts.dirty_free.load_relaxed(), int64_t{4} << 20) << size;
    free_all(more);
  }
  retention_policy.ceiling.store_relaxed(ceiling);
}

TEST_F(RemoteFree, TheOwnerCollectsWhenItNeedsBlocks) {
  std::vector<void*> blocks = alloc_many(1024, 6400);
  int64_t peak = slices_in_use();
  in_thread([&] { free_all(blocks); });
  for (int round = 0; round < 20; round++) {
    std::vector<void*> more = alloc_many(1024, 3000);
    in_thread([&] { free_all(more); });
  }
  EXPECT_LE(slices_in_use(), peak);
}

TEST_F(RemoteFree, AFullBatchIsSentAtOnce) {
  Heap* owner = thread_heap;
  void* single = api_malloc(65536);
  // A pool whose slice has no chunk header has as many blocks as a batch can hold.
  std::vector<void*> others, pool{api_malloc(1024)};
  void* extra = api_malloc(1024);
  for (; pool_find(extra) == pool_find(pool[0]) || slice_index(pool_find(pool[0])) == 0; extra = api_malloc(1024)) {
    if (pool_find(extra) != pool_find(pool[0])) std::swap(others, pool);
    pool.push_back(extra);
  }
  in_thread([&] {
    free_all(pool);
    EXPECT_TRUE(mail_waits(owner)) << "all blocks of a pool were freed";
  });
  api_malloc_trim(0);
  ASSERT_FALSE(mail_waits(owner));
  in_thread([&] {
    api_free(single);
    EXPECT_TRUE(mail_waits(owner)) << "blocks of a slice travel alone";
  });
  api_free(extra);
  free_all(others);
}

TEST_F(RemoteFree, ABatchThatDoesNotGrowIsSentWhileItsThreadAllocates) {
  void* block = api_malloc(32);
  Heap* owner = thread_heap;
  in_thread([&] {
    api_free(api_malloc(1));
    api_free(block);
    EXPECT_FALSE(mail_waits(owner)) << "one block waits for others";
    std::vector<void*> own;
    for (int i = 0; i < 3000 && !mail_waits(owner); i++) own.push_back(api_malloc(60000));
    EXPECT_TRUE(mail_waits(owner));
    free_all(own);
  });
}

TEST_F(RemoteFree, TrimSendsWhatItsThreadHasCollectedForOthers) {
  std::vector<void*> blocks = alloc_many(32, 100);
  Heap* owner = thread_heap;
  in_thread([&] {
    free_all(blocks);
    api_malloc_trim(0);
    EXPECT_TRUE(mail_waits(owner));
  });
}

TEST_F(RemoteFree, MorePoolsThanBatchesLoseNothing) {
  std::vector<void*> blocks;
  for (int i = 0; i < 500; i++) {
    for (size_t size : {64, 8192, 65536}) blocks.push_back(api_malloc(size));
  }
  Random random(8);
  for (size_t i = blocks.size(); i > 1; i--) std::swap(blocks[i - 1], blocks[random.below(i)]);
  in_thread([&] { free_all(blocks); });
}

TEST_F(RemoteFree, AThreadThatOnlyFreesBuildsNoPools) {
  std::vector<void*> blocks = alloc_many(100, 10000);
  in_thread([&] {
    int64_t before = slices_in_use();
    free_all(blocks);
    EXPECT_LE(slices_in_use(), before);
    for (unsigned c = 0; c < kClassCount; c++) EXPECT_EQ(thread_heap->chains[c].active, nullptr);
  });
}

TEST_F(RemoteFree, BlocksOfAnEndedThreadGoBackWithoutAnAdopter) {
  for (size_t size : kSizes) {
    std::vector<void*> blocks;
    Heap* owner = nullptr;
    in_thread([&] {
      blocks = alloc_many(size, 1000);
      owner = thread_heap;
    });
    for (void* p : blocks) ASSERT_TRUE(pattern_holds(p, size, size));
    free_all(blocks);
    remote_flush(*thread_heap);
    EXPECT_EQ(owner->gate->state.load_relaxed(), HeapState::orphan);
    EXPECT_FALSE(mail_waits(owner));
    EXPECT_LE(slices_in_use(), in_use_before + kWidePoolSlices) << size;
  }
}

TEST_F(RemoteFree, AThreadThatFreesLittleNeedsNoHeapAndSendsAtOnce) {
  void* block = api_malloc(100);
  Heap* owner = thread_heap;
  in_thread([&] {
    api_free(block);
    EXPECT_TRUE(mail_waits(owner));
    EXPECT_EQ(thread_heap, nullptr);
  });
}

TEST_F(RemoteFree, AThreadThatAdoptsTheOwnerWhileItFreesGivesTheBlocksBack) {
  for (int i = 0; i < 20; i++) {
    std::vector<void*> blocks;
    Heap* owner = nullptr;
    in_thread([&] {
      blocks = alloc_many(2000, 100);
      owner = thread_heap;
    });
    in_thread([&] {
      free_all(blocks);
      EXPECT_EQ(thread_heap, owner);
    });
  }
}

TEST_F(RemoteFree, AnOwnerThatEndsWhileOthersFreeLosesNothing) {
  Random random(9);
  for (int round = 0; round < 300; round++) {
    size_t size = kSizes[random.below(std::size(kSizes))];
    std::vector<void*> blocks;
    std::atomic<bool> ready{false};
    std::thread owner([&] {
      blocks = alloc_many(size, 200);
      ready.store(true);
    });
    std::thread freer([&] {
      while (!ready.load()) std::this_thread::yield();
      free_all(blocks);
    });
    owner.join();
    freer.join();
  }
}

TEST_F(RemoteFree, ManyThreadsFreeIntoOneHeap) {
  for (size_t size : {32, 1024, 20000}) {
    std::vector<void*> blocks = alloc_many(size, 8000);
    std::vector<void*> own;
    std::atomic<int> running{4};
    std::thread frees([&] {
      in_threads(4, [&](unsigned i) {
        for (size_t k = i; k < blocks.size(); k += 4) api_free(blocks[k]);
        running--;
      });
    });
    // The owner allocates from the same pools meanwhile.
    while (running.load() != 0) {
      std::vector<void*> some = alloc_many(size, 100);
      for (void* p : some) ASSERT_TRUE(pattern_holds(p, size, size));
      free_all(some);
    }
    frees.join();
  }
}

TEST_F(RemoteFree, BlocksThatWanderAmongThreadsKeepTheirContentsAndComeBack) {
  struct Slot {
    std::mutex mutex;
    void* p = nullptr;
    size_t size = 0;
  };
  std::vector<Slot> slots(2000);
  std::atomic<int> violations{0};
  for (int generation = 0; generation < 4; generation++) {
    in_threads(4, [&](unsigned thread) {
      Random random(uint64_t(generation) * 10 + thread);
      for (int step = 0; step < 60000; step++) {
        Slot& slot = slots[random.below(slots.size())];
        size_t size = random.size_up_to(random.below(64) == 0 ? 100000 : 2000);
        void* p = api_malloc(size);
        pattern_fill(p, size, size);
        {
          std::lock_guard<std::mutex> guard(slot.mutex);
          std::swap(p, slot.p);
          std::swap(size, slot.size);
        }
        if (p != nullptr) violations += !pattern_holds(p, size, size);
        api_free(p);
      }
    });
  }
  EXPECT_EQ(violations.load(), 0);
  for (Slot& each : slots) api_free(each.p);
}

TEST_F(RemoteFree, ReallocOfAnotherThreadsBlockMovesOrKeepsIt) {
  for (size_t size : {10, 1000, 9000, 60000, 300000}) {
    unsigned char* p = static_cast<unsigned char*>(api_malloc(size));
    memset(p, 0x42, size);
    in_thread([&] {
      p = static_cast<unsigned char*>(api_realloc(p, size * 2));
      EXPECT_TRUE(test::bytes_all(p, size, 0x42));
      p = static_cast<unsigned char*>(api_realloc(p, size / 2));
      EXPECT_TRUE(test::bytes_all(p, size / 2, 0x42));
    });
    api_free(p);
  }
}

TEST_F(RemoteFree, ASleepingThreadsPoolsAreReleasedByWhoFreesTheirBlocks) {
  constexpr unsigned kPools = 200;
  for (size_t size : {size_t{64}, size_t{1000}, size_t{8192}, size_t{60000}}) {
    std::vector<void*> blocks;
    std::atomic<int> step{0};
    std::thread sleeper([&] {
      blocks = alloc_many(size, unsigned(kPools * kSliceSize / size));
      step = 1;
      while (step != 2) std::this_thread::yield();
    });
    while (step != 1) std::this_thread::yield();
    int64_t full = slices_in_use() - in_use_before;
    EXPECT_GE(full, int64_t{kPools});
    free_all(blocks);
    EXPECT_LE(slices_in_use() - in_use_before, full / 2) << size;
    step = 2;
    sleeper.join();
    api_malloc_trim(0);
    EXPECT_EQ(slices_in_use(), in_use_before) << size;
  }
}

// A parked pool whose count has just reached zero: its owner is about to look at it, and needs it.
TEST_F(RemoteFree, APoolThatItsOwnerIsAboutToLookAtIsLeftToIt) {
  constexpr size_t kSize = kPoolBlockMax;
  std::vector<void*> blocks;
  BlockPool* pool = nullptr;
  // Until the pool of the first block is full and off its chain.
  while (pool == nullptr || pool->state != SliceState::parked) {
    blocks.push_back(api_malloc(kSize));
    pool = pool_find(blocks[0]);
    ASSERT_LT(blocks.size(), 100u);
  }
  ASSERT_EQ(pool->parked_list.count, 1) << "one free wakes it";
  // Its other blocks are freed elsewhere, and wait in the mailbox.
  void* own = blocks[0];
  std::vector<void*> others;
  in_thread([&] {
    for (void* p : blocks) {
      if (p != own && pool_find(p) == pool) api_free(p);
    }
  });
  for (void* p : blocks) {
    if (pool_find(p) != pool) others.push_back(p);
  }
  // The owner's fast path, up to the look.
  list_push(*pool->list, static_cast<Block*>(own));
  EXPECT_TRUE(list_count_down(*pool->list));
  heap_reap(*thread_heap);
  EXPECT_EQ(pool->owner, thread_heap);
  EXPECT_EQ(pool->state, SliceState::parked);
  heap_pool_trap(pool);
  free_all(others);
}

}  // namespace
}  // namespace poolalloc
