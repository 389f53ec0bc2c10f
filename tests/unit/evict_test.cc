// Laws of eviction (heap/evict.h): what a sleeping thread's heap does not need is taken from it, what it needs
// is not, and whatever the owner is doing meanwhile, no block has two users.
//
// Always holds: each test ends with every block freed and every heap valid.
#include "heap/evict.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <iterator>
#include <thread>
#include <vector>

#include "chunk/region.h"
#include "heap/find.h"
#include "heap/remote.h"
#include "heap_test.h"
#include "os/os.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::pattern_fill;
using test::pattern_holds;
using test::Random;
using test::slices_in_use;

class Evict : public test::HeapTest {
 protected:
  void SetUp() override {
    if (!os_barrier_others()) GTEST_SKIP() << "the kernel has no such barrier";
    HeapTest::SetUp();
  }
};

// A thread that does one step after the other when told to, and sleeps in between.
class Stepper {
 public:
  explicit Stepper(std::vector<std::function<void()>> steps)
      : thread_([this, steps] {
          for (size_t i = 0; i < steps.size(); i++) {
            while (wanted_ <= i && !ends_) std::this_thread::yield();
            if (ends_) return;
            steps[i]();
            heap_ = thread_heap;
            done_ = i + 1;
          }
          while (!ends_) std::this_thread::yield();
        }) {}
  ~Stepper() {
    ends_ = true;
    thread_.join();
  }
  void step() {
    size_t count = ++wanted_;
    while (done_ != count) std::this_thread::yield();
  }
  Heap& heap() { return *heap_; }

 private:
  std::atomic<size_t> wanted_{0}, done_{0};
  std::atomic<bool> ends_{false};
  std::atomic<Heap*> heap_{nullptr};
  std::thread thread_;
};

// Uses a size again until the heap has learned to keep its pool when it runs empty.
template <typename Use>
void use_until_kept(size_t size, Use use) {
  do {
    use();
  } while (thread_heap->chains[size_class_of(size)].active == nullptr);
}

bool resident(const void* page) {
  unsigned char there = 0;
  const size_t size = size_t(getpagesize());  // the kernel's, also where the library is told of larger ones
  return mincore(pointer_to<void>(round_down(address_of(page), size)), size, &there) == 0 && there & 1;
}

// Whether the memory of the pool around p can go back: a page that a chunk's header reaches into cannot.
bool can_go_back(const void* p) {
  return address_of(p) % kChunkSize >= kSliceSize || os_page_size() <= kChunkHeaderOffset;
}

TEST_F(Evict, AnEmptyActivePoolGivesItsMemoryBackAndStartsAnew) {
  for (size_t size : {16, 200, 1024, 5000, 40000}) {
    std::vector<void*> blocks;
    void* again = nullptr;
    auto fill_and_free = [&] {
      use_until_kept(size, [&] {
        blocks.clear();
        for (size_t bytes = 0; bytes < 20000; bytes += size) blocks.push_back(api_malloc(size));
        for (void* p : blocks) pattern_fill(p, size, size);
        for (void* p : blocks) api_free(p);
      });
    };
    Stepper sleeper({fill_and_free, [&] { again = api_malloc(size), pattern_fill(again, size, 1); },
                     [&] {
                       EXPECT_TRUE(pattern_holds(again, size, 1));
                       api_free(again);
                     }});
    sleeper.step();
    unsigned c = size_class_of(size);
    ASSERT_NE(sleeper.heap().chains[c].active, nullptr) << size;
    heap_evict(sleeper.heap());
    EXPECT_EQ(sleeper.heap().chains[c].active, nullptr);
    // Nothing leads the owner to the pool any more: it may be released before the owner looks.
    EXPECT_EQ(sleeper.heap().active[c].head, &no_block.end);
    EXPECT_EQ(resident(static_cast<char*>(blocks.back()) + size - 1), !can_go_back(blocks.back())) << size;
    EXPECT_TRUE(heap_is_valid(sleeper.heap()));
    sleeper.step();
    heap_evict(sleeper.heap());
    EXPECT_TRUE(pattern_holds(again, size, 1));
    EXPECT_EQ(sleeper.heap().chains[c].active, pool_find(again)) << "a pool with a live block was taken";
    sleeper.step();
  }
}

TEST_F(Evict, WhoeverComesByLooksIntoSleepersMailboxesOnceInAWindowOfTime) {
  std::vector<void*> blocks;
  Stepper sleeper({[&] {
    for (int i = 0; i < 1000; i++) blocks.push_back(api_malloc(8192));
  }});
  sleeper.step();
  int64_t full = slices_in_use();
  // All of them in the mailbox, and nobody has looked.
  sleeper.heap().mail_patience.store_relaxed(1u << 30);
  for (void* p : blocks) api_free(p);
  remote_flush(*thread_heap);
  EXPECT_EQ(slices_in_use(), full);
  // Where the last sweep stopped is not known, so more than one may be needed.
  for (int i = 0; i < 3; i++) {
    accounts.retention.window_start.add_relaxed(1);
    heap_slow_path_end(0);
  }
  EXPECT_LE(slices_in_use() - in_use_before, (full - in_use_before) / 4);
}

TEST_F(Evict, BatchesOfASleepingThreadAreSent) {
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; i++) blocks.push_back(api_malloc(48));
  Stepper sleeper({[&] {
    void* own = api_malloc(1);
    for (void* p : blocks) api_free(p);
    api_free(own);
  }});
  sleeper.step();
  heap_evict(sleeper.heap());
  EXPECT_NE(thread_heap->mailbox.load_relaxed(), nullptr);
  api_malloc_trim(0);
  EXPECT_EQ(slices_in_use() - in_use_before, int64_t{sleeper.heap().chains[0].pool_count}) << "of the sleeper alone";
}

// How many blocks of a pool of this thread's heap are live or on their way.
int64_t collected_count(const void* block) {
  LockGuard guard(thread_heap->gate->lock);
  heap_collect(*thread_heap);
  return pool_find(block)->list->count;
}

// Sweeps of all heaps, with as much time before each as lets it take what the last one has seized.
void sweep(Heap& heap) {
  {
    LockGuard guard(heap.gate->lock);
    heap.seized_ms -= kSettled_ms;
  }
  // Where the last sweep has stopped is not known.
  for (int i = 0; i < 2; i++) {
    accounts.retention.window_start.add_relaxed(1);
    heap_slow_path_end(0);
  }
}

class Sweep : public test::HeapTest {};

TEST_F(Sweep, WhatOneSweepSeizesALaterOneTakes) {
  std::vector<void*> others, own;
  for (int i = 0; i < 100; i++) others.push_back(api_malloc(48));
  constexpr size_t kSizes[] = {16, 200, 5000, 40000};
  auto fill_and_free = [&] {
    for (size_t size : kSizes) {
      void* p;
      use_until_kept(size, [&] {
        p = api_malloc(size);
        pattern_fill(p, size, 1);
        api_free(p);
      });
      own.push_back(p);
    }
    for (void* p : others) api_free(p);
  };
  Stepper sleeper(
      {fill_and_free, [&] { own[0] = api_malloc(16), pattern_fill(own[0], 16, 1); }, [&] { api_free(own[0]); }});
  sleeper.step();
  Heap& heap = sleeper.heap();
  unsigned before = 0, after = 0;
  for (const PoolChain& chain : heap.chains) before += chain.active != nullptr;
  ASSERT_GE(before, std::size(kSizes));
  sweep(heap);
  for (const PoolChain& chain : heap.chains) after += chain.active != nullptr;
  EXPECT_EQ(after, before) << "the owner has had no time to show what it is doing";
  EXPECT_EQ(collected_count(others[0]), 100);
  sweep(heap);
  for (const PoolChain& chain : heap.chains) EXPECT_EQ(chain.active, nullptr);
  for (size_t k = 0; k < own.size(); k++) EXPECT_FALSE(resident(static_cast<char*>(own[k]) + kSizes[k] - 1));
  EXPECT_EQ(collected_count(others[0]), 0) << "the batches were not sent";
  EXPECT_TRUE(heap_is_valid(heap));
  sleeper.step();
  EXPECT_TRUE(pattern_holds(own[0], 16, 1));
  sleeper.step();
  api_malloc_trim(0);
}

TEST_F(Sweep, WhatTheOwnerHasComeBackToIsNotTaken) {
  void* first = nullptr;
  void* again = nullptr;
  std::vector<void*> others;
  for (int i = 0; i < 8; i++) others.push_back(api_malloc(48));
  Stepper sleeper({[&] {
                     use_until_kept(64, [&] { api_free(first = api_malloc(64)); });
                     for (int i = 0; i < 4; i++) api_free(others[size_t(i)]);
                   },
                   [&] {
                     again = api_malloc(64);
                     for (size_t i = 4; i < 8; i++) api_free(others[i]);
                   },
                   [&] { api_free(again); }});
  sleeper.step();
  Heap& heap = sleeper.heap();
  sweep(heap);
  unsigned c = size_class_of(64);
  EXPECT_TRUE(list_is_empty(heap.active[c])) << "the list was not seized";
  EXPECT_EQ(heap.batches_seized.load_relaxed(), 1u);
  sleeper.step();
  EXPECT_EQ(again, first) << "the list is in force again";
  EXPECT_EQ(heap.batches_seized.load_relaxed(), 0u);
  sweep(heap);
  EXPECT_EQ(heap.chains[c].active, pool_find(again));
  EXPECT_EQ(collected_count(others[0]), 8);
  EXPECT_TRUE(heap_is_valid(heap));
  sleeper.step();
}

TEST_F(Sweep, EmptyPoolsInHugePagesAreTakenWhenTheyAreMoreThanMayBeKept) {
  BlockPool* pool = nullptr;
  Stepper sleeper({[&] {
    use_until_kept(5000, [&] {
      void* p = api_malloc(5000);
      pool = pool_find(p);
      api_free(p);
    });
  }});
  sleeper.step();
  const ChunkInfo& info = chunk_of(pool)->info;
  info.region->huge_chunks.or_relaxed(uint64_t{1} << info.index);
  for (int i = 0; i < 4; i++) sweep(sleeper.heap());
  EXPECT_EQ(pool->state, SliceState::active);
  ASSERT_LT(accounts.in_use.load_relaxed(), 16 * int64_t{kSliceSize}) << "a sixteenth of it may be kept";
  retention_policy.floor.store_relaxed(0);
  for (int i = 0; i < 4; i++) sweep(sleeper.heap());
  retention_policy.floor.store_relaxed(kRetentionFloor);
  EXPECT_EQ(pool->state, SliceState::partial);
  EXPECT_EQ(slice_is_huge(pool), !can_go_back(slice_address(pool))) << "the kernel would make it huge again";
}

// The owner is between its last free and its look at the pool.
TEST_F(Evict, APoolWhoseOwnerIsAboutToLookAtItStaysTheHeaps) {
  BlockPool* pool = nullptr;
  Stepper sleeper({[&] {
                     void* p = api_malloc(64);
                     pool = pool_find(p);
                     list_push(*pool->list, static_cast<Block*>(p));
                     EXPECT_TRUE(list_count_down(*pool->list));
                   },
                   [&] { heap_pool_trap(pool); }});
  sleeper.step();
  heap_evict(sleeper.heap());
  EXPECT_EQ(pool->owner, &sleeper.heap());
  EXPECT_EQ(pool->state, SliceState::partial);
  sleeper.step();
  EXPECT_TRUE(heap_is_valid(sleeper.heap()));
}

// The owner has counted, and not yet looked at the head; then goes on.
TEST_F(Evict, AListWithAPopOnItsWayComesBack) {
  void* first = nullptr;
  std::vector<void*> blocks;
  Stepper sleeper({[&] {
                     use_until_kept(64, [&] { api_free(first = api_malloc(64)); });
                     list_count_add(thread_heap->active[size_class_of(64)], 1);
                   },
                   [&] {
                     FreeList& list = thread_heap->active[size_class_of(64)];
                     EXPECT_TRUE(list_is_empty(list));
                     list_count_add(list, -1);
                     for (int i = 0; i < 3; i++) blocks.push_back(api_malloc(64));
                   },
                   [&] {
                     for (void* p : blocks) api_free(p);
                   }});
  sleeper.step();
  unsigned c = size_class_of(64);
  list_count_add(sleeper.heap().active[c], -1);
  // As heap_evict does, with the count going up in between.
  list_count_add(sleeper.heap().active[c], 1);
  sleeper.heap().chains[c].seized = sleeper.heap().active[c].head;
  sleeper.heap().active[c].head = list_end(*sleeper.heap().chains[c].active);
  sleeper.step();
  EXPECT_EQ(blocks[0], first) << "the list is in force again";
  EXPECT_TRUE(heap_is_valid(sleeper.heap()));
  sleeper.step();
}

TEST_F(Evict, TrimGivesBackFreePagesInsidePools) {
  if (os_page_size() == kSliceSize) GTEST_SKIP() << "such a pool is one page";
  constexpr size_t kSize = 6000;
  std::vector<unsigned char*> blocks;
  for (int i = 0; i < 100; i++) {
    blocks.push_back(static_cast<unsigned char*>(api_malloc(kSize)));
    pattern_fill(blocks.back(), kSize, 7);
  }
  auto is_kept = [](size_t i) { return i % 10 == 3; };
  for (size_t i = 0; i < blocks.size(); i++) {
    if (!is_kept(i)) api_free(blocks[i]);
  }
  size_t before = 0, after = 0;
  auto count = [&] {
    size_t sum = 0;
    for (unsigned char* p : blocks) sum += resident(p + kSize / 2 + 1000);
    return sum;
  };
  before = count();
  EXPECT_EQ(api_malloc_trim(0), 1);
  after = count();
  EXPECT_GE(before, 90u);
  EXPECT_LE(after, 45u);
  EXPECT_TRUE(heap_is_valid(*thread_heap));
  std::vector<void*> again;
  for (int i = 0; i < 100; i++) {
    again.push_back(api_malloc(kSize));
    memset(again.back(), 1, kSize);
  }
  for (size_t i = 0; i < blocks.size(); i++) {
    if (!is_kept(i)) continue;
    EXPECT_TRUE(pattern_holds(blocks[i], kSize, 7)) << "a live block was touched";
    api_free(blocks[i]);
  }
  for (void* p : again) api_free(p);
}

// Owners whose pools run empty all the time, and hand blocks to each other, while all of them are evicted.
TEST_F(Evict, OwnersThatRunAreNotDisturbed) {
  constexpr int kOwners = 3;
  std::atomic<int> violations{0};
  std::atomic<bool> stop{false};
  std::atomic<void*> handed[64] = {};
  std::vector<std::thread> owners;
  for (int t = 0; t < kOwners; t++) {
    owners.emplace_back([&, t] {
      Random random(uint64_t(t) + 1);
      while (!stop) {
        size_t sizes[8];
        unsigned char* blocks[8];
        int count = 1 + int(random.below(8));
        for (int i = 0; i < count; i++) {
          sizes[i] = 1 + random.below(i % 4 == 0 ? 20000 : 600);
          blocks[i] = static_cast<unsigned char*>(api_malloc(sizes[i]));
          pattern_fill(blocks[i], sizes[i], uint64_t(t));
        }
        for (int i = 0; i < count; i++) {
          violations += !pattern_holds(blocks[i], sizes[i], uint64_t(t));
          if (random.below(4) == 0) {
            api_free(handed[random.below(64)].exchange(blocks[i]));
          } else {
            api_free(blocks[i]);
          }
        }
      }
    });
  }
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  for (uint64_t i = 0; std::chrono::steady_clock::now() < end; i++) {
    heap_evict_others();
    if (i % 64 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  stop = true;
  for (std::thread& each : owners) each.join();
  EXPECT_EQ(violations.load(), 0);
  for (std::atomic<void*>& each : handed) api_free(each.load());
}

}  // namespace
}  // namespace poolalloc
