// Laws of a fork that leaves threads behind in the middle of something (heap/fork.cc): what the child makes of each
// place where a thread can vanish and others then find less than a whole heap.
//
// Always holds: a thread is stopped at such a place, by its own steps instead of a lucky moment; a child ends by _exit:
// 0, or the number of the law that it found violated; the thread goes on in the parent.
#include <gtest/gtest.h>

#include "accounts.h"
#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "heap/evict.h"
#include "heap/remote.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::in_child;

// A thread that stops at some point, where it is when the process forks, and then goes on.
class Stopped {
 public:
  // `reach` brings it there, `leave` away from there.
  template <typename Reach, typename Leave>
  Stopped(Reach reach, Leave leave)
      : thread_([=, this] {
          reach();
          step_ = 1;
          while (step_ != 2) std::this_thread::yield();
          leave();
        }) {
    while (step_ != 1) std::this_thread::yield();
  }
  ~Stopped() {
    step_ = 2;
    thread_.join();
  }

 private:
  std::atomic<int> step_{0};
  std::thread thread_;
};

// free, but for the look at a pool whose count has come to zero; whether it has.
bool free_and_vanish(void* p) {
  FreeList& list = *pool_of(p)->list;
  list_push(list, static_cast<Block*>(p));
  return list_count_down(list);
}

// Thread by thread: the pool of the last block has run empty, or is to wake.
TEST(Vanished, PoolsThatAVanishedThreadWasAboutToLookAtAreLookedAt) {
  for (size_t size : {40, 700, 9000, 60000}) {
    SCOPED_TRACE(size);
    api_malloc_trim(0);
    const int64_t slices_before = test::slices_in_use();
    std::vector<void*> blocks;
    BlockPool* looked_at[2];
    Stopped vanishes(
        [&] {
          std::vector<void*> by_pool[2];
          for (BlockPool* others[2]; by_pool[1].empty() || pool_of(by_pool[1][0])->state != SliceState::parked;) {
            void* block = api_malloc(size);
            unsigned i = 0;
            while (i < 2 && !by_pool[i].empty() && others[i] != pool_of(block)) i++;
            if (i == 2) {
              blocks.push_back(block);
            } else {
              others[i] = pool_of(block);
              by_pool[i].push_back(block);
            }
          }
          // The first one has one live block left, and the second one may lose one less than wake it.
          for (; by_pool[0].size() > 1; by_pool[0].pop_back()) api_free(by_pool[0].back());
          BlockPool* parked = looked_at[1] = pool_of(by_pool[1][0]);
          for (; parked->parked_list.count > 1; by_pool[1].pop_back()) api_free(by_pool[1].back());
          looked_at[0] = pool_of(by_pool[0][0]);
          ASSERT_EQ(looked_at[0]->state, SliceState::partial);
          ASSERT_EQ(parked->state, SliceState::parked);
          ASSERT_TRUE(free_and_vanish(by_pool[0].back()));
          ASSERT_TRUE(free_and_vanish(by_pool[1].back()));
          by_pool[1].pop_back();
          blocks.insert(blocks.end(), by_pool[1].begin(), by_pool[1].end());
        },
        [&] {
          for (BlockPool* pool : looked_at) heap_pool_trap(pool);
        });
    EXPECT_EQ(in_child([&] {
                if (looked_at[0]->owner != nullptr) return 20;
                if (looked_at[1]->state != SliceState::partial) return 21;
                // Nothing is lost with the thread but what it was at.
                for (void* block : blocks) api_free(block);
                api_malloc_trim(0);
                return test::slices_in_use() == slices_before ? 0 : 22;
              }),
              0);
    for (void* block : blocks) api_free(block);
  }
  api_malloc_trim(0);
}

// It has counted a block as live, and not taken it yet.
TEST(Vanished, AThreadThatVanishesInMallocLeavesAWholeHeap) {
  for (size_t size : {16, 100, 5000, 50000}) {
    FreeList* list = nullptr;
    void* block = nullptr;
    Stopped vanishes(
        [&] {
          block = api_malloc(size);
          list = pool_of(block)->list;
          list_count_add(*list, 1);
        },
        [&] {
          list_count_add(*list, -1);
          api_free(block);
        });
    EXPECT_EQ(in_child([&] {
                for (HeapGate* each = heap_list(); each != nullptr; each = each->next) {
                  if (!heap_is_valid(*each->heap)) return 23;
                }
                for (size_t each : {16, 100, 5000, 50000, 500000}) {
                  void* made = api_malloc(each);
                  if (made == nullptr) return 24;
                  memset(made, 1, each);
                  api_free(made);
                }
                return 0;
              }),
              0)
        << size;
  }
}

// It was at its batches, which have blocks of others.
TEST(Vanished, BatchesOfAThreadThatVanishesAreSentHoweverItVanishes) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "the sanitizer allows no threads here";
  for (bool is_at_them : {false, true}) {
    SCOPED_TRACE(is_at_them);
    std::vector<void*> blocks;
    for (int i = 0; i < 5; i++) blocks.push_back(api_malloc(1800));
    const unsigned c = pool_of(blocks[0])->size_class;
    const unsigned pools_before = thread_heap->chains[c].pool_count;
    Heap* heap = nullptr;
    Stopped vanishes(
        [&] {
          api_free(api_malloc(1));
          heap = thread_heap;
          for (void* block : blocks) api_free(block);
          heap->batches_busy.store_relaxed(is_at_them);
        },
        [&] { heap->batches_busy.store_relaxed(0); });
    EXPECT_EQ(in_child([&] {
                if (heap->batch_count == 0) return 25;
                // Whoever has the heap next does not touch them, and a trim finds him asleep.
                Stopped adopts([&] { api_free(api_malloc(1)); }, [] {});
                if (heap->gate->state.load_relaxed() != HeapState::owned) return 26;
                // The first one brings them home, the second one takes them in.
                api_malloc_trim(0);
                api_malloc_trim(0);
                return thread_heap->chains[c].pool_count < pools_before ? 0 : 27;
              }),
              0);
  }
  api_malloc_trim(0);
}

}  // namespace
}  // namespace poolalloc
