// What threads cost each other: read-modify-write operations and full fences, counted while workloads run.
//
// Always holds: counted in the build with all checks only, where lib/base/atomic.h counts; there each
// workload first runs once uncounted, so that its pools exist. The limits stand beside what was measured
// when they were set; a figure that grows beyond its limit is a decision, not an accident.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "api/malloc_api.h"
#include "test_util.h"

#if POOLALLOC_CHECKS >= 2

namespace poolalloc {
namespace {

using test::Random;

constexpr uint64_t kOperations = 1'000'000;

// Runs the workload twice; what the second time counted in this thread, per million operations.
template <typename Workload>
uint64_t counted(Workload workload) {
  workload();
  uint64_t before = atomic_operations;
  workload();
  uint64_t count = atomic_operations - before;
  printf("%lu atomic operations per million\n", static_cast<unsigned long>(count));
  return count;
}

// A window of live blocks of 16 to `largest` bytes, each step of which frees one and allocates one.
void churn(size_t window, size_t largest) {
  std::vector<void*> live(window);
  Random random(1);
  for (uint64_t i = 0; i < kOperations / 2; i++) {
    void*& slot = live[random.below(window)];
    api_free(slot);
    slot = api_malloc(16 + random.below(largest - 15));
  }
  for (void* p : live) api_free(p);
}

// Measured: 0. Beside other threads some 400, until the heap knows that its pool runs empty again and again.
TEST(ManyCores, OneSizeNeedsNextToNone) {
  EXPECT_LE(counted([] {
              for (uint64_t i = 0; i < kOperations / 2; i++) api_free(api_malloc(64));
            }),
            400u);
}

// Measured: 3,300. One in some hundred operations takes the heap's own, uncontended lock.
TEST(ManyCores, MixedSmallBlocksOfOneThread) {
  EXPECT_LE(counted([] { churn(1000, 1024); }), 20'000u);
}

// Measured: 233,000. Pools of a few blocks run full and wake all the time, which costs the heap's own lock; those
// that run empty and are taken anew are its spares.
TEST(ManyCores, MixedBlocksUpTo32KiBOfOneThread) {
  EXPECT_LE(counted([] { churn(1000, 32768); }), 500'000u);
}

// A ring between a thread that allocates and one that frees.
class Ring {
 public:
  void push(void* p) {
    while (head_ - tail_.load(std::memory_order_acquire) == kSize) std::this_thread::yield();
    slots_[head_ % kSize] = p;
    published_.store(++head_, std::memory_order_release);
  }
  void* pop() {
    uint64_t at = tail_.load(std::memory_order_relaxed);
    while (published_.load(std::memory_order_acquire) == at) std::this_thread::yield();
    void* p = slots_[at % kSize];
    tail_.store(at + 1, std::memory_order_release);
    return p;
  }

 private:
  static constexpr uint64_t kSize = 4096;
  void* slots_[kSize];
  uint64_t head_ = 0;
  std::atomic<uint64_t> published_{0};
  std::atomic<uint64_t> tail_{0};
};

void hand_over(size_t largest, uint64_t limit) {
  Ring ring;
  uint64_t taker_count = 0;
  std::thread taker([&] {
    for (uint64_t i = 0; i < kOperations / 2; i++) api_free(ring.pop());
    taker_count = atomic_operations;
  });
  uint64_t before = atomic_operations;
  Random random(1);
  for (uint64_t i = 0; i < kOperations / 2; i++) ring.push(api_malloc(16 + random.below(largest - 15)));
  uint64_t maker_count = atomic_operations - before;
  taker.join();
  printf("%lu atomic operations per million, by the maker %lu\n", static_cast<unsigned long>(maker_count + taker_count),
         static_cast<unsigned long>(maker_count));
  EXPECT_LE(maker_count + taker_count, limit);
}

// Measured: 6,400: one message of many blocks is one compare-and-swap, one look at the mailbox one exchange.
TEST(ManyCores, HandingOverSmallBlocks) { hand_over(64, 150'000); }
// Measured: 58,000 when both threads run; 330,000 when other programs keep interrupting them, so that batches age
// before they are full. One message for each block would be 1,500,000.
TEST(ManyCores, HandingOverMixedBlocks) { hand_over(1024, 700'000); }

}  // namespace
}  // namespace poolalloc

#endif
