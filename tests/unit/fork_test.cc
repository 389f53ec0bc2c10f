// Laws of fork (heap/fork.cc): the child of a process with running threads finds a heap that works,
// whatever the others were doing.
//
// Always holds: the handlers are those that the library registers itself (api/start.cc); a child uses
// nothing but the api and ends by _exit: 0, or the number of the law that it found violated; SIGALRM
// ends a child that hangs.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <set>

#include "accounts.h"
#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "chunk/extent_space.h"
#include "chunk/purge.h"
#include "heap/profiled.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::in_child;
using test::pattern_fill;
using test::pattern_holds;
using test::Random;

// Allocates and frees through every size class; the number of the law violated.
int exercise() {
  constexpr size_t kCount = 300;
  void* blocks[kCount];
  for (size_t i = 0; i < kCount; i++) {
    size_t size = i * i + 1;
    blocks[i] = api_malloc(size);
    if (blocks[i] == nullptr) return 1;
    pattern_fill(blocks[i], size, i);
  }
  for (size_t i = 0; i < kCount; i++) {
    if (!pattern_holds(blocks[i], i * i + 1, i)) return 2;
    api_free(blocks[i]);
  }
  LockGuard guard(thread_heap->gate->lock);  // others may be evicting it
  return heap_is_valid(*thread_heap) ? 0 : 3;
}

// Threads that allocate, free, and free each other's blocks until told to stop.
class Hammer {
 public:
  explicit Hammer(unsigned threads) {
    for (unsigned i = 0; i < threads; i++) threads_.emplace_back([this, i] { run(i); });
    while (started_.load() < threads) std::this_thread::yield();
  }
  ~Hammer() {
    stop_ = true;
    for (std::thread& each : threads_) each.join();
    for (auto& slot : slots_) api_free(slot.load());
    EXPECT_EQ(violations_.load(), 0);
  }

  static constexpr size_t kSlots = 512;
  // A block's first word is its size; the rest has a pattern.
  static void* make(size_t size) {
    size += 16;
    char* p = static_cast<char*>(api_malloc(size));
    if (p == nullptr) return nullptr;
    memcpy(p, &size, sizeof size);
    pattern_fill(p + 16, size - 16, 7);
    return p;
  }
  static bool is_whole(void* block) {
    char* p = static_cast<char*>(block);
    size_t size;
    memcpy(&size, p, sizeof size);
    return size <= api_usable_size(p) && pattern_holds(p + 16, size - 16, 7);
  }
  // In the child: every block that a slot holds is whole, and can be freed.
  int free_inherited() {
    for (auto& slot : slots_) {
      void* p = slot.exchange(nullptr);
      if (p == nullptr) continue;
      if (!is_whole(p)) return 4;
      api_free(p);
    }
    return 0;
  }

 private:
  void run(unsigned thread) {
    Random random(thread);
    api_free(slots_[thread].exchange(make(1)));  // so that every thread that counts as started has a heap
    started_++;
    while (!stop_.load()) {
      size_t limit = random.below(200) == 0 ? 1000000 : 3000;
      void* p = slots_[random.below(kSlots)].exchange(make(random.size_up_to(limit)));
      if (p != nullptr) {
        violations_ += !is_whole(p);
        api_free(p);
      }
      if (random.below(5000) == 0) api_malloc_trim(0);
    }
  }

  std::atomic<void*> slots_[kSlots] = {};
  std::atomic<bool> stop_{false};
  std::atomic<unsigned> started_{0};
  std::atomic<int> violations_{0};
  std::vector<std::thread> threads_;
};

TEST(Fork, AChildOfOneThreadAllocatesAndFrees) {
  void* block = api_malloc(100);
  pattern_fill(block, 100, 1);
  EXPECT_EQ(in_child([&] {
              if (!pattern_holds(block, 100, 1)) return 5;
              api_free(block);
              return exercise();
            }),
            0);
  EXPECT_TRUE(pattern_holds(block, 100, 1));
  api_free(block);
}

// The number of locks that somebody holds.
int held_locks() {
  int held = 0;
  for (const Lock* lock : {&fork_lock, &registry.lock, &regions_lock, &purge_lock, &extents_lock, &profile_lock})
    held += lock_holder(*lock) != 0;
  for (const HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next) held += lock_holder(gate->lock) != 0;
  return held;
}

TEST(Fork, NoLockIsHeldWhenItIsOver) {
  for (int depth = 0; depth < 2; depth++) {
    EXPECT_EQ(in_child([&] {
                const int inner = depth == 0 ? 0 : in_child(held_locks);
                return inner + held_locks();
              }),
              0);
    EXPECT_EQ(held_locks(), 0);
  }
}

TEST(Fork, AChildsAccountsAreThoseOfItsParent) {
  std::vector<void*> blocks;
  for (size_t size : {100, 20000, 100000, 5000000, 140 << 20 | 1, 150 << 20 | 1, 160 << 20 | 1}) {
    blocks.push_back(api_malloc(size));
  }
  int64_t in_use = test::bytes_in_use();
  EXPECT_EQ(in_child([&] {
              if (test::bytes_in_use() != in_use) return 12;
              for (void* p : blocks) api_free(p);
              api_malloc_trim(0);
              return test::bytes_in_use() == 0 && test::dirty_free() == 0 ? 0 : 13;
            }),
            0);
  for (void* p : blocks) api_free(p);
  api_malloc_trim(0);
  EXPECT_EQ(test::bytes_in_use(), 0);
}

TEST(Fork, AChildForkedAmidRunningThreadsWorksAndItsBlocksAreWhole) {
  Hammer hammer(3);
  for (int i = 0; i < 60; i++) {
    ASSERT_EQ(in_child([&] {
                int law = exercise();
                if (law == 0) law = hammer.free_inherited();
                if (law == 0) law = exercise();
                api_malloc_trim(0);
                return law;
              }),
              0)
        << "fork " << i;
    EXPECT_EQ(exercise(), 0);
  }
}

TEST(Fork, EveryHeapOfAChildIsValidAndBelongsToItsThreadOrToNobody) {
  Hammer hammer(3);
  for (int i = 0; i < 50; i++) {
    ASSERT_EQ(in_child([&] {
                api_malloc(1);
                for (HeapGate* each = heap_list(); each != nullptr; each = each->next) {
                  if (each->heap != thread_heap && each->state.load_relaxed() == HeapState::owned) return 6;
                  if (!heap_is_valid(*each->heap)) return 7;
                }
                return heap_thread_count() == 1 ? 0 : 8;
              }),
              0)
        << "fork " << i;
  }
}

TEST(Fork, AChildsChildWorksToo) {
  Hammer hammer(2);
  for (int i = 0; i < 15; i++) {
    ASSERT_EQ(in_child([&] {
                int law = exercise();
                if (law == 0)
                  law = in_child([&] {
                    int inner = hammer.free_inherited();
                    return inner != 0 ? inner : exercise();
                  });
                if (law == 0) law = hammer.free_inherited();
                return law != 0 ? law : exercise();
              }),
              0);
  }
}

void* exercise_in_thread(void* law) {
  *static_cast<int*>(law) = exercise();
  return nullptr;
}

TEST(Fork, ThreadsOfAChildAdoptWhatItInherited) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "the sanitizer allows no threads here";
  Hammer hammer(3);
  for (int i = 0; i < 30; i++) {
    ASSERT_EQ(in_child([&] {
                unsigned heaps = 0;
                for (HeapGate* each = heap_list(); each != nullptr; each = each->next) heaps++;
                int laws[3];
                pthread_t threads[3];
                for (int k = 0; k < 3; k++) {
                  if (pthread_create(&threads[k], nullptr, exercise_in_thread, &laws[k]) != 0) return 9;
                }
                for (int k = 0; k < 3; k++) {
                  pthread_join(threads[k], nullptr);
                  if (laws[k] != 0) return laws[k];
                }
                // One may have been looked at by a sweep just when it was wanted.
                unsigned most = heaps + 1;
                for (HeapGate* each = heap_list(); each != nullptr; each = each->next) most--;
                return int(most) >= 0 ? hammer.free_inherited() : 10;
              }),
              0);
  }
}

// A thread that vanishes between the last free of a batch and its sending.
TEST(Fork, ABatchThatWasAboutToBeSentTakesFurtherBlocks) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "the sanitizer allows no threads here";
  for (size_t size : {40, 700, 9000, 60000}) {
    SCOPED_TRACE(size);
    std::vector<void*> blocks;
    for (int i = 0; i < 1200; i++) blocks.push_back(api_malloc(size));
    std::atomic<int> step{0};
    auto is_freed = [](size_t i) { return i % 13 == 0; };
    std::thread vanishes([&] {
      void* own = api_malloc(1);  // a heap
      // Some blocks of each pool are in batches, which are as if they had just become full.
      for (size_t i = 0; i < blocks.size(); i++) {
        if (is_freed(i)) api_free(blocks[i]);
      }
      for (RemoteBatch& batch : thread_heap->batches) {
        if (batch.pool == nullptr) continue;
        batch.limit = uint16_t(batch_count(batch));
        batch.room = 0;
      }
      step = 1;
      while (step != 2) std::this_thread::yield();
      for (RemoteBatch& batch : thread_heap->batches) batch.limit++, batch.room++;
      api_free(own);
    });
    while (step != 1) std::this_thread::yield();
    EXPECT_EQ(in_child([&] {
                // The heap is adopted, and goes on with its batches.
                std::thread([&] {
                  for (size_t i = 0; i < blocks.size(); i++) {
                    if (!is_freed(i)) api_free(blocks[i]);
                  }
                }).join();
                std::set<void*> again;
                for (size_t i = 0; i < 2 * blocks.size(); i++) {
                  void* block = api_malloc(size);
                  if (block == nullptr || !again.insert(block).second) return 1;
                  memset(block, int(i), size);
                }
                for (void* block : again) api_free(block);
                for (HeapGate* each = heap_list(); each != nullptr; each = each->next) {
                  if (!heap_is_valid(*each->heap)) return 2;
                }
                return 0;
              }),
              0);
    step = 2;
    vanishes.join();
    for (size_t i = 0; i < blocks.size(); i++) {
      if (!is_freed(i)) api_free(blocks[i]);
    }
  }
}

TEST(Fork, SeveralThreadsMayForkAtTheSameTime) {
  Hammer hammer(2);
  std::atomic<int> failures{0};
  test::in_threads(3, [&](unsigned) {
    for (int i = 0; i < 15; i++) {
      failures += in_child([] { return exercise(); }) != 0;
      failures += exercise() != 0;
    }
  });
  EXPECT_EQ(failures.load(), 0);
}

TEST(Fork, ThreadsMayComeAndGoMeanwhile) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> churn;
  for (int i = 0; i < 2; i++) {
    churn.emplace_back([&] {
      while (!stop.load()) test::in_thread([] { api_free(api_malloc(300)); });
    });
  }
  int violated = 0;
  for (int i = 0; i < 60 && violated == 0; i++) violated = in_child([] { return exercise(); });
  EXPECT_EQ(violated, 0);
  stop = true;
  for (std::thread& each : churn) each.join();
}

// --- Handlers of others ---------------------------------------------------------------------------------

// Registered before the library's, so that all three run while the library holds all its locks.
std::atomic<int> handler_violations{0};
std::atomic<int> handler_calls_inside{0};
thread_local void* handler_block;

std::atomic<bool> handlers_on{false};  // they are registered for the whole process

// What another thread does meanwhile; the fork waits for it, as if for a lock that the thread holds.
std::function<void()> meanwhile;

void handler_prepare() {
  if (meanwhile) meanwhile();
  if (!handlers_on) return;
  handler_calls_inside += lock_held_by_fork(extents_lock);
  handler_block = api_malloc(1234);
  if (handler_block == nullptr) handler_violations++;
  for (size_t size : {10, 5000, 70000, 9000000}) {
    void* p = api_malloc(size);
    handler_violations += p == nullptr;
    api_free(p);
  }
  if (handler_block != nullptr) pattern_fill(handler_block, 1234, 3);
}
void handler_after() {
  if (!handlers_on) return;
  handler_violations += !pattern_holds(handler_block, 1234, 3);
  api_free(handler_block);
  api_free(api_malloc(100));
}
__attribute__((constructor(101))) void register_early() {
  pthread_atfork(handler_prepare, handler_after, handler_after);
}

TEST(Fork, HandlersOfOthersMayAllocateWhileTheLibraryHoldsItsLocks) {
  handlers_on = true;
  Hammer hammer(2);
  for (int i = 0; i < 30; i++) {
    ASSERT_EQ(in_child([] { return handler_violations.load() != 0 ? 11 : exercise(); }), 0);
  }
  EXPECT_EQ(handler_violations.load(), 0);
  EXPECT_GE(handler_calls_inside.load(), 30) << "the handlers ran before the locks were taken";
  handlers_on = false;
}

// Fork waits for a lock of libc's whose holder waits for memory; the holder, then others, go on through the fork.
TEST(Fork, AThreadThatTheForkWaitsForAllocatesMeanwhile) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "the sanitizer allows no threads here";
  for (int round = 0; round < 8; round++) {
    bool is_new = round % 2 == 0;
    size_t size_most = round % 4 < 2 ? 30000 : 3000000;
    // Slots change hands all the while: a child frees what it finds there.
    constexpr size_t kSlots = 300;
    std::atomic<void*> slots[kSlots]{};
    std::atomic<int> step{0};
    auto turn_over = [&](Random& random) {
      std::atomic<void*>& slot = slots[random.below(kSlots)];
      void* before = slot.exchange(nullptr);
      EXPECT_TRUE(before == nullptr || Hammer::is_whole(before));
      api_free(before);
      slot = Hammer::make(random.size_up_to(size_most));
    };
    std::thread holder([&] {
      Random random(unsigned(round) + 1);
      for (int i = is_new ? 0 : 3000; i > 0; i--) turn_over(random);
      while (step.load() == 0) std::this_thread::yield();
      for (int i = 0; i < 3000; i++) turn_over(random);
      step = 2;
      while (step.load() == 2) turn_over(random);
    });
    auto started = std::chrono::steady_clock::now();
    meanwhile = [&] {
      meanwhile = nullptr;
      step = 1;
      while (step.load() == 1) std::this_thread::yield();
    };
    EXPECT_EQ(in_child([&] {
                if (!extents_are_valid()) return 16;
                for (auto& slot : slots) {
                  void* block = slot.exchange(nullptr);
                  if (block == nullptr) continue;
                  if (!Hammer::is_whole(block)) return 14;
                  api_free(block);
                }
                if (!extents_are_valid()) return 17;
                int law = exercise();
                api_malloc_trim(0);
                return law != 0 ? law : in_child(exercise);
              }),
              0)
        << "round " << round;
    EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(10));
    step = 3;
    holder.join();
    for (auto& slot : slots) api_free(slot.load());
    EXPECT_EQ(exercise(), 0);
  }
}

}  // namespace
}  // namespace poolalloc
