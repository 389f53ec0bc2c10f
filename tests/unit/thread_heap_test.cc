// Laws of malloc and free in one thread, of a pool's states, and of heaps when threads come and go
// (heap/heap.h, api/malloc_api.h).
//
// Always holds: each test frees all that it allocated, and then no more slices are in use than before.
#include <errno.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <map>

#include "heap/find.h"
#include "heap_test.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::bytes_all;
using test::in_thread;
using test::pattern_fill;
using test::pattern_holds;
using test::Random;
using test::slices_in_use;

unsigned heap_count() {
  unsigned count = 0;
  for (HeapGate* each = heap_list(); each != nullptr; each = each->next) count++;
  return count;
}

class ThreadHeap : public test::HeapTest {
 protected:
  void TearDown() override {
    HeapTest::TearDown();
    test::expect_memory_valid();
  }
};

// --- malloc ---------------------------------------------------------------------------------------------

TEST_F(ThreadHeap, BlocksOfEverySizeHoldTheirBytes) {
  constexpr size_t kKept = 64;
  std::vector<std::pair<void*, size_t>> kept(kKept, {nullptr, 0});
  for (size_t size = 0; size <= 70000; size += size < 2000 ? 1 : 61) {
    auto& [old, old_size] = kept[size % kKept];
    if (old != nullptr) {
      ASSERT_TRUE(pattern_holds(old, old_size, old_size));
    }
    api_free(old);
    old = api_malloc(size);
    old_size = api_usable_size(old);
    ASSERT_NE(old, nullptr);
    ASSERT_EQ(address_of(old) % kBlockAlignment, 0u);
    ASSERT_GE(old_size, size);
    pattern_fill(old, old_size, old_size);
  }
  for (auto [p, size] : kept) {
    ASSERT_TRUE(pattern_holds(p, size, size));
    api_free(p);
  }
}

TEST_F(ThreadHeap, BlocksOfEveryAlignmentHoldTheirBytes) {
  for (size_t alignment = 1; alignment <= kSliceSize; alignment *= 2) {
    SCOPED_TRACE(alignment);
    std::vector<std::pair<void*, size_t>> blocks;
    for (size_t size :
         {0, 1, 16, 17, 100, 1000, 1024, 4095, 4096, 5000, 8192, 20000, 32768, 50000, 65536, 65537, 200000}) {
      for (int i = 0; i < 3; i++) {
        void* p = api_memalign(alignment, size);
        ASSERT_NE(p, nullptr);
        ASSERT_EQ(address_of(p) % alignment, 0u) << size;
        size_t usable = api_usable_size(p);
        ASSERT_GE(usable, size);
        pattern_fill(p, usable, size);
        blocks.push_back({p, size});
      }
    }
    for (auto [p, size] : blocks) {
      ASSERT_TRUE(pattern_holds(p, api_usable_size(p), size)) << size;
      api_free(p);
    }
  }
}

TEST_F(ThreadHeap, SmallSizesFindTheListOfTheirClass) {
  for (size_t size = 0; size <= kSmallMax; size++) {
    const void* list = &small_list(*thread_heap, size);
    ASSERT_EQ(list, &thread_heap->active[size_class_of(size)]) << size;
  }
}

TEST_F(ThreadHeap, ZeroSizesAreDistinctBlocks) {
  std::map<void*, int> seen;
  for (int i = 0; i < 1000; i++) {
    for (void* p : {api_malloc(0), api_calloc(0, 7), api_calloc(7, 0), api_memalign(64, 0)}) ASSERT_EQ(seen[p]++, 0);
  }
  for (auto [p, count] : seen) api_free(p);
}

TEST_F(ThreadHeap, CallocIsZeroAfterDirtyReuse) {
  for (size_t size : {1, 16, 100, 1024, 1025, 8192, 8193, 65536}) {
    for (int round = 0; round < 3; round++) {
      std::vector<void*> blocks;
      for (int i = 0; i < 50; i++) {
        blocks.push_back(api_calloc(1, size));
        ASSERT_TRUE(bytes_all(blocks.back(), size, 0)) << size;
        memset(blocks.back(), 0xff, api_usable_size(blocks.back()));
      }
      for (void* each : blocks) api_free(each);
    }
  }
}

TEST_F(ThreadHeap, ReallocKeepsContentsAcrossEveryPairOfSizes) {
  const std::vector<size_t> sizes{0,    1,    15,   16,   17,    128,   129,   1000,
                                  1024, 1025, 8192, 8193, 40000, 65536, 65537, 300000};
  for (size_t from : sizes) {
    for (size_t to : sizes) {
      unsigned char* p = static_cast<unsigned char*>(api_malloc(from));
      memset(p, 0x3c, from);
      p = static_cast<unsigned char*>(api_realloc(p, to));
      if (to == 0) {
        ASSERT_EQ(p, nullptr);
        continue;
      }
      ASSERT_NE(p, nullptr);
      ASSERT_GE(api_usable_size(p), to);
      ASSERT_TRUE(bytes_all(p, std::min(from, to), 0x3c)) << from << " to " << to;
      memset(p, 0x3d, api_usable_size(p));
      api_free(p);
    }
  }
}

TEST_F(ThreadHeap, ImpossibleRequestsFailWithErrnoAndLeaveOldData) {
  unsigned char* p = static_cast<unsigned char*>(api_malloc(100));
  memset(p, 1, 100);
  auto fails = [](auto&& call, int expected) {
    errno = 0;
    EXPECT_EQ(call(), nullptr);
    EXPECT_EQ(errno, expected);
  };
  for (size_t size : {size_t{PTRDIFF_MAX}, size_t{PTRDIFF_MAX} + 1, SIZE_MAX - 4096, SIZE_MAX}) {
    fails([&] { return api_malloc(size); }, ENOMEM);
    fails([&] { return api_calloc(1, size); }, ENOMEM);
    fails([&] { return api_realloc(p, size); }, ENOMEM);
    fails([&] { return api_memalign(64, size); }, ENOMEM);
    fails([&] { return api_pvalloc(size); }, ENOMEM);
    void* untouched = p;
    EXPECT_EQ(api_posix_memalign(&untouched, 64, size), ENOMEM);
    EXPECT_EQ(untouched, p);
  }
  fails([&] { return api_calloc(SIZE_MAX / 2, 3); }, ENOMEM);
  fails([&] { return api_memalign(SIZE_MAX, 8); }, EINVAL);
  void* untouched = p;
  for (size_t alignment : {0, 1, 4, 24}) EXPECT_EQ(api_posix_memalign(&untouched, alignment, 8), EINVAL);
  EXPECT_EQ(untouched, p);
  EXPECT_TRUE(bytes_all(p, 100, 1));
  api_free(p);
}

TEST_F(ThreadHeap, FreeKeepsErrno) {
  for (size_t size : {10, 5000, 100000, 5000000, 200000000}) {
    void* p = api_malloc(size);
    errno = 1234;
    api_free(p);
    EXPECT_EQ(errno, 1234) << size;
  }
  api_free(nullptr);
  EXPECT_EQ(errno, 1234);
}

TEST_F(ThreadHeap, TheBlockFreedLastIsReusedFirst) {
  void* a = api_malloc(200);
  void* b = api_malloc(200);
  api_free(a);
  api_free(b);
  EXPECT_EQ(api_malloc(200), b);
  EXPECT_EQ(api_malloc(200), a);
  api_free(a);
  api_free(b);
}

TEST_F(ThreadHeap, StaysValidUnderRandomUse) {
  struct Held {
    void* p;
    size_t size;
  };
  Random random(6);
  std::vector<Held> held;
  for (int step = 0; step < 100000; step++) {
    if (held.size() < 3000 && random.below(100) < 52) {
      size_t size = random.size_up_to(random.below(50) == 0 ? 300000 : 4000);
      void* p = random.below(8) == 0 ? api_memalign(size_t{1} << random.below(13), size) : api_malloc(size);
      ASSERT_NE(p, nullptr);
      pattern_fill(p, size, size);
      held.push_back({p, size});
    } else if (!held.empty()) {
      size_t index = random.below(held.size());
      ASSERT_TRUE(pattern_holds(held[index].p, held[index].size, held[index].size));
      api_free(held[index].p);
      held[index] = held.back();
      held.pop_back();
    }
    if (step % 1000 == 0) {
      ASSERT_TRUE(heap_is_valid(*thread_heap));
    }
  }
  for (Held each : held) api_free(each.p);
}

// --- A pool's states ------------------------------------------------------------------------------------

// All blocks of one pool, in a heap that has no other of its class; it is parked then. `extra` is the
// first block of the next pool.
std::vector<void*> fill_one_pool(size_t size, void** extra) {
  std::vector<void*> blocks{api_malloc(size)};
  for (;;) {
    void* p = api_malloc(size);
    if (pool_find(p) != pool_find(blocks[0])) {
      *extra = p;
      return blocks;
    }
    blocks.push_back(p);
  }
}

TEST_F(ThreadHeap, SlicesOfWidePoolsServeSmallBlocksLater) {
  for (size_t wide : {9000, 20000, 60000}) {
    // Some stay, so that chunks are not made anew.
    std::vector<void*> staying, blocks;
    for (int i = 0; i < 400; i++) (i % 40 == 0 ? staying : blocks).push_back(api_malloc(wide));
    for (void* p : blocks) api_free(p);
    api_malloc_trim(0);
    blocks.clear();
    for (int i = 0; i < 3000; i++) {
      void* p = api_malloc(1000);
      ASSERT_EQ(pool_of(p), descriptor_of(p)) << "a pool of one slice begins where it is";
      ASSERT_EQ(api_usable_size(p), 1024u);
      blocks.push_back(p);
    }
    for (void*& p : blocks) ASSERT_NE(p = api_realloc(p, 2000), nullptr);
    for (void* p : blocks) api_free(p);
    for (void* p : staying) api_free(p);
    api_malloc_trim(0);
  }
}

TEST_F(ThreadHeap, AFullPoolIsParkedAndWakesAfterAnEighth) {
  for (size_t size : {16, 48, 1024, 8192, 20480, 65536}) {
    SCOPED_TRACE(size);
    void* extra;
    std::vector<void*> blocks = fill_one_pool(size, &extra);
    BlockPool* pool = pool_find(blocks[0]);
    EXPECT_EQ(pool->state, SliceState::parked);
    EXPECT_EQ(pool_find(extra)->state, SliceState::active);
    size_t wake = blocks.size() >= 16 ? blocks.size() / 8 : blocks.size() >= 8 && !kHardened ? 2 : 1;
    for (size_t i = 0; i < wake; i++) {
      EXPECT_EQ(pool->state, SliceState::parked) << i;
      api_free(blocks[i]);
    }
    EXPECT_EQ(pool->state, SliceState::partial);
    EXPECT_TRUE(heap_is_valid(*thread_heap));
    for (size_t i = wake; i < blocks.size(); i++) api_free(blocks[i]);
    EXPECT_EQ(pool->state, SliceState::free) << "an empty pool is given back";
    api_free(extra);
    api_malloc_trim(0);
  }
}

TEST_F(ThreadHeap, AWokenPoolIsUsedAgainBeforeANewOneIsMade) {
  void* extra;
  std::vector<void*> blocks = fill_one_pool(4096, &extra);
  BlockPool* pool = pool_find(blocks[0]);
  api_free(blocks.back());
  blocks.pop_back();
  while (pool->state == SliceState::parked) {
    api_free(blocks.back());
    blocks.pop_back();
  }
  int64_t in_use = slices_in_use();
  std::vector<void*> more{extra};
  do {
    more.push_back(api_malloc(4096));
  } while (pool_find(more.back()) != pool);
  EXPECT_EQ(slices_in_use(), in_use);
  EXPECT_EQ(pool->state, SliceState::active);
  for (void* p : blocks) api_free(p);
  for (void* p : more) api_free(p);
}

TEST_F(ThreadHeap, EmptyPoolsGoBackWhateverTheOrderOfFrees) {
  for (int order = 0; order < 3; order++) {
    for (size_t size : {16, 256, 1024, 3000, 8192, 16384, 65536}) {
      int64_t before = slices_in_use();
      std::vector<void*> blocks;
      for (size_t total = 0; total < (size_t{4} << 20); total += size) blocks.push_back(api_malloc(size));
      if (order == 1) std::reverse(blocks.begin(), blocks.end());
      if (order == 2) {
        Random random(7);
        for (size_t i = blocks.size(); i > 1; i--) std::swap(blocks[i - 1], blocks[random.below(i)]);
      }
      for (void* p : blocks) api_free(p);
      EXPECT_LE(slices_in_use(), before + kWidePoolSlices) << "only the active pool may stay";
      api_malloc_trim(0);
      EXPECT_EQ(slices_in_use(), before);
    }
  }
}

// --- Threads --------------------------------------------------------------------------------------------

TEST_F(ThreadHeap, AThreadHasNoHeapBeforeItsFirstUse) {
  in_thread([] {
    EXPECT_EQ(thread_heap, nullptr);
    api_free(nullptr);
    EXPECT_EQ(thread_heap, nullptr);
    api_free(api_malloc(1));
    EXPECT_EQ(thread_heap->gate->state.load_relaxed(), HeapState::owned);
  });
}

TEST_F(ThreadHeap, AnEndedThreadsHeapIsAnOrphanAndTheNextThreadAdoptsIt) {
  Heap* heap = nullptr;
  void* block = nullptr;
  in_thread([&] {
    block = api_malloc(100);
    pattern_fill(block, 100, 1);
    heap = thread_heap;
  });
  EXPECT_EQ(heap->gate->state.load_relaxed(), HeapState::orphan);
  EXPECT_TRUE(pattern_holds(block, 100, 1));
  in_thread([&] {
    void* own = api_malloc(100);
    EXPECT_EQ(thread_heap, heap);
    EXPECT_EQ(pool_find(own), pool_find(block)) << "the orphan's pools are used";
    api_free(own);
    api_free(block);
  });
}

TEST_F(ThreadHeap, ThreadsByTheThousandDoNotGrowTheNumberOfHeaps) {
  in_thread([] { api_free(api_malloc(1)); });
  unsigned heaps = heap_count();
  for (int i = 0; i < 2000; i++) {
    in_thread([] {
      void* a = api_malloc(100);
      api_free(api_malloc(5000));
      api_free(a);
    });
  }
  EXPECT_EQ(heap_count(), heaps);
  EXPECT_EQ(heap_thread_count(), 1u);
}

TEST_F(ThreadHeap, HeapsAreAsManyAsThreadsWereAtOneTime) {
  unsigned before = heap_count();
  for (int round = 0; round < 100; round++) {
    test::in_threads(8, [](unsigned i) {
      std::vector<void*> blocks;
      for (int k = 0; k < 200; k++) blocks.push_back(api_malloc(16 * (i + 1)));
      for (void* p : blocks) api_free(p);
    });
  }
  EXPECT_LE(heap_count(), before + 8);
  EXPECT_EQ(heap_thread_count(), 1u);
}

// A key whose destructor calls *body, again and again for as many rounds as *body returns true.
pthread_key_t late_key;
void late_destructor(void* value) {
  auto* body = static_cast<std::function<bool()>*>(value);
  if ((*body)()) pthread_setspecific(late_key, value);
}
void in_thread_destructor(std::function<bool()> body) {
  static const int created = pthread_key_create(&late_key, late_destructor);
  ASSERT_EQ(created, 0);
  in_thread([&] { pthread_setspecific(late_key, &body); });
}

TEST_F(ThreadHeap, AThreadThatFirstAllocatesInADestructorLeavesItsHeap) {
  unsigned heaps = heap_count();
  for (int i = 0; i < 100; i++) {
    in_thread_destructor([] {
      api_free(api_malloc(100));
      return false;
    });
  }
  EXPECT_LE(heap_count(), heaps + 1);
  EXPECT_EQ(heap_thread_count(), 1u);
}

TEST_F(ThreadHeap, AThreadThatFirstFreesInADestructorReturnsTheBlockAndItsHeap) {
  unsigned heaps = heap_count();
  for (int i = 0; i < 100; i++) {
    void* block = api_malloc(3000);
    in_thread_destructor([&] {
      api_free(block);
      return false;
    });
  }
  EXPECT_LE(heap_count(), heaps + 1);
  EXPECT_EQ(heap_thread_count(), 1u);
}

TEST_F(ThreadHeap, AThreadThatFirstAllocatesInTheSecondRoundLeavesItsHeap) {
  unsigned heaps = heap_count();
  for (int i = 0; i < 100; i++) {
    int round = 0;
    in_thread_destructor([&] {
      if (++round < 2) return true;
      api_free(api_malloc(100));
      return false;
    });
  }
  EXPECT_LE(heap_count(), heaps + 1);
  EXPECT_EQ(heap_thread_count(), 1u);
}

TEST_F(ThreadHeap, DestructorsMayAllocateAndFreeInEveryRound) {
  const int rounds = PTHREAD_DESTRUCTOR_ITERATIONS - (test::kThreadSanitizer ? 1 : 0);
  for (int i = 0; i < 50; i++) {
    void* early = nullptr;
    in_thread([&] { early = api_malloc(500); });
    void* carried = nullptr;
    int round = 0;
    in_thread_destructor([&] {
      void* p = api_malloc(1000);
      pattern_fill(p, 1000, 9);
      api_free(carried);
      carried = api_malloc(300);
      EXPECT_TRUE(pattern_holds(p, 1000, 9));
      api_free(p);
      if (round == 0) api_free(early);
      return ++round < rounds;
    });
    EXPECT_EQ(round, rounds);
    api_free(carried);
  }
}

TEST_F(ThreadHeap, ATrimmedHeapWorksOn) {
  void* kept = api_malloc(77);
  pattern_fill(kept, 77, 3);
  for (int i = 0; i < 20; i++) {
    std::vector<void*> blocks;
    for (int k = 0; k < 1000; k++) blocks.push_back(api_malloc(500));
    for (void* p : blocks) api_free(p);
    api_malloc_trim(0);
    EXPECT_EQ(test::dirty_free(), 0);
    EXPECT_TRUE(heap_is_valid(*thread_heap));
  }
  EXPECT_TRUE(pattern_holds(kept, 77, 3));
  api_free(kept);
}

}  // namespace
}  // namespace poolalloc
