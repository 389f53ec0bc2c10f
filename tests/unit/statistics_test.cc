// Laws of the figures by class and heap (inspect/census.h, inspect/statistics.h): they are those of a shadow account,
// whoever has allocated and whoever has freed.
//
// Always holds: each test frees all that it allocated.
#include "inspect/statistics.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <limits.h>

#include <atomic>
#include <barrier>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "api/stats.h"
#include "chunk/accounts.h"
#include "chunk/extent.h"
#include "chunk/region.h"
#include "heap/program_heap.h"
#include "heap_test.h"
#include "inspect/census.h"
#include "os/system_call.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::Random;

// What a program knows of its own blocks.
struct Shadow {
  std::atomic<int64_t> blocks[kClassCount]{};
  std::atomic<int64_t> large_blocks{0}, large_bytes{0};

  void count(void* block, int64_t change) {
    const size_t size = api_usable_size(block);
    if (size > kPoolBlockMax) {
      large_blocks += change;
      large_bytes += change * int64_t(size);
    } else {
      blocks[size_class_of(size)] += change;
    }
  }
};

std::string json_text() {
  std::string text;
  statistics_write(
      "0", [](const char* more, size_t length, void* to) { static_cast<std::string*>(to)->append(more, length); },
      &text);
  return text;
}

uint64_t json_figure(const std::string& text, const std::string& section, const std::string& key) {
  const size_t from = text.find('"' + section + "\":{");
  const size_t at = text.find('"' + key + "\":", from);
  EXPECT_NE(from, std::string::npos) << section;
  EXPECT_LT(at, text.find('}', from)) << key;
  return strtoull(text.c_str() + at + key.size() + 3, nullptr, 10);
}

class StatisticsTest : public test::HeapTest {
 protected:
  void SetUp() override {
    HeapTest::SetUp();
    census_take(before_);
  }

  // All that is live has been counted by the test, or was there before.
  void expect_equal(const Shadow& shadow) {
    Census now;
    census_take(now);
    uint64_t blocks = now.large_blocks, bytes = now.large_bytes;
    for (unsigned c = 0; c < kClassCount; c++) {
      const ClassCensus &each = now.classes[c], &was = before_.classes[c];
      EXPECT_EQ(int64_t(each.live - was.live), shadow.blocks[c]) << "of class " << c;
      const uint64_t all = each.live + each.under_way + each.free + each.hidden + each.untouched;
      // A pool in the slice with a chunk's header has less room.
      EXPECT_LE(all * class_size(c), each.slices * kSliceSize) << "of class " << c;
      EXPECT_GE((all + each.pools) * class_size(c), each.slices * kSliceSize - each.pools * kChunkHeaderSize);
      blocks += each.live;
      bytes += each.live * class_size(c);
    }
    EXPECT_EQ(int64_t(now.large_blocks - before_.large_blocks), shadow.large_blocks);
    EXPECT_EQ(int64_t(now.large_bytes - before_.large_bytes), shadow.large_bytes);
    EXPECT_EQ(now.live_blocks, blocks);
    EXPECT_EQ(now.live_bytes, bytes);
    // glibc's figures take a block that is on its way back to its heap for one in use.
    const struct mallinfo2 info = api_mallinfo2();
    EXPECT_EQ(info.uordblks + info.hblkhd, bytes + now.under_way_bytes);
    EXPECT_EQ(info.hblkhd, now.large_bytes);
    expect_heaps_add_up(now);
    const std::string text = json_text();
    EXPECT_EQ(json_figure(text, "blocks", "live_blocks"), blocks);
    EXPECT_EQ(json_figure(text, "large", "live_bytes"), now.large_bytes);
  }

  static void expect_heaps_add_up(const Census& census) {
    std::vector<HeapCensus> heaps;
    for (const HeapGate* gate = heap_list(); gate != nullptr; gate = gate->next)
      heaps.push_back({gate->heap, 0, 0, 0, 0});
    EXPECT_EQ(heaps.size(), census.heaps);
    census_of_heaps(heaps.data(), unsigned(heaps.size()));
    uint64_t live = 0, slices = 0, spares = 0, of_classes = 0;
    for (const HeapCensus& each : heaps) {
      live += each.live_blocks;
      slices += each.slices;
      spares += each.heap->spares.slices;
    }
    for (const ClassCensus& each : census.classes) of_classes += each.slices;
    EXPECT_EQ(live + census.large_blocks, census.live_blocks + census.under_way_blocks);
    EXPECT_EQ(slices, of_classes);
    EXPECT_EQ(int64_t((slices + spares) * kSliceSize), slices_size());
  }

 private:
  Census before_;
};

// COMPAT 74
TEST_F(StatisticsTest, AreThoseOfAShadowAccountWhoeverFrees) {
  constexpr int kThreads = 4, kRounds = 6, kSteps = 4000;
  Shadow shadow;
  // What threads hand to each other.
  std::mutex mutex;
  std::vector<void*> shared;
  std::barrier rest(kThreads + 1);
  auto work = [&](int number) {
    Random random(0x51a7 + number);
    std::vector<void*> own;
    for (int round = 0; round < kRounds; round++) {
      for (int step = 0; step < kSteps; step++) {
        const uint64_t what = random.below(8);
        if (what < 4) {
          void* block = api_malloc(random.size_up_to(random.below(64) == 0 ? 1 << 20 : 20000));
          shadow.count(block, 1);
          own.push_back(block);
        } else if (what < 6 && !own.empty()) {
          std::swap(own[random.below(own.size())], own.back());
          std::lock_guard guard(mutex);
          shared.push_back(own.back());
          own.pop_back();
        } else {
          void* block = nullptr;
          {
            std::lock_guard guard(mutex);
            if (shared.empty()) continue;
            std::swap(shared[random.below(shared.size())], shared.back());
            block = shared.back();
            shared.pop_back();
          }
          shadow.count(block, -1);
          api_free(block);
        }
      }
      rest.arrive_and_wait();
      rest.arrive_and_wait();
    }
    std::lock_guard guard(mutex);
    shared.insert(shared.end(), own.begin(), own.end());
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) threads.emplace_back(work, i);
  for (int round = 0; round < kRounds; round++) {
    rest.arrive_and_wait();
    SCOPED_TRACE(round);
    expect_equal(shadow);
    rest.arrive_and_wait();
  }
  for (std::thread& thread : threads) thread.join();
  expect_equal(shadow);
  for (void* block : shared) {
    shadow.count(block, -1);
    api_free(block);
  }
  expect_equal(shadow);
}

// A thread that has freed a few blocks only has no heap.
TEST_F(StatisticsTest, KnowWhatAThreadWithoutAHeapHasFreed) {
  Shadow shadow;
  void* blocks[3];
  for (void*& block : blocks) shadow.count(block = api_malloc(100), 1);
  std::thread([&] {
    shadow.count(blocks[0], -1);
    api_free(blocks[0]);
  }).join();
  expect_equal(shadow);
  for (int i : {1, 2}) {
    shadow.count(blocks[i], -1);
    api_free(blocks[i]);
  }
  expect_equal(shadow);
}

TEST_F(StatisticsTest, HolesAndSparesAndTrimmingChangeNothing) {
  Shadow shadow;
  std::vector<void*> kept, gone;
  for (int i = 0; i < 60000; i++) {
    void* block = api_malloc(600);
    shadow.count(block, 1);
    (i % 40 == 0 ? kept : gone).push_back(block);
  }
  expect_equal(shadow);
  for (void* block : gone) {
    shadow.count(block, -1);
    api_free(block);
  }
  expect_equal(shadow);
  poolalloc_trim();
  Census census;
  census_take(census);
  // Where a pool is one page it has no holes.
  EXPECT_EQ(census.classes[size_class_of(600)].hidden > 0, os_page_size() < kSliceSize);
  expect_equal(shadow);
  for (void* block : kept) {
    shadow.count(block, -1);
    api_free(block);
  }
  expect_equal(shadow);
}

// Blocks that a walk has seen.
struct Seen {
  std::map<void*, size_t> live, free;
  size_t areas = 0;
  poolalloc_heap* heap = nullptr;  // of which blocks were seen
};
int see(const poolalloc_area* area, void* block, int is_live, void* context) {
  Seen& seen = *static_cast<Seen*>(context);
  if (block == nullptr) {
    seen.areas++;
    return 1;
  }
  EXPECT_GE(block, area->start);
  EXPECT_LE(static_cast<char*>(block) + area->block_size, static_cast<char*>(area->start) + area->size);
  EXPECT_TRUE((is_live ? seen.live : seen.free).emplace(block, area->block_size).second) << "seen twice";
  if (area->heap != nullptr) seen.heap = area->heap;
  return 1;
}

TEST_F(StatisticsTest, AVisitSeesEachBlockOnce) {
  Seen before;
  EXPECT_EQ(poolalloc_visit(see, &before), 1);
  Random random(11);
  std::map<void*, size_t> live;
  std::vector<void*> freed;
  auto make = [&](int count) {
    for (int i = 0; i < count; i++) {
      void* block = api_malloc(random.size_up_to(random.below(100) == 0 ? 300000 : 40000));
      if (random.below(3) != 0) {
        live.emplace(block, api_usable_size(block));
      } else {
        freed.push_back(block);
      }
    }
  };
  make(5000);
  std::thread([&] { make(5000); }).join();
  for (void* block : freed) api_free(block);
  poolalloc_trim();  // what the other thread's heap has not taken in, and holes
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  for (size_t size : {size_t{100}, size_t{100000}}) {
    void* block = poolalloc_heap_alloc(heap, size);
    live.emplace(block, api_usable_size(block));
  }
  Seen seen;
  EXPECT_EQ(poolalloc_visit(see, &seen), 1);
  EXPECT_GT(seen.areas, before.areas);
  EXPECT_EQ(seen.heap, heap);
  for (const auto& [block, size] : before.live) EXPECT_EQ(seen.live.erase(block), 1u);
  EXPECT_EQ(seen.live, live);
  // It ends when it is told to, and the visitor may allocate.
  size_t calls = 0;
  EXPECT_EQ(poolalloc_visit(
                [](const poolalloc_area*, void*, int, void* context) {
                  api_free(api_malloc(64));
                  return int(++*static_cast<size_t*>(context) < 10);
                },
                &calls),
            0);
  EXPECT_EQ(calls, 10u);
  for (const auto& [block, size] : live) api_free(block);
  poolalloc_heap_delete(heap);
}

TEST_F(StatisticsTest, AVisitGoesOnWhileOthersAllocate) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int number = 0; number < 3; number++) {
    threads.emplace_back([&, number] {
      Random random(number);
      void* blocks[200] = {};
      while (!stop) {
        void*& block = blocks[random.below(200)];
        api_free(block);
        block = api_malloc(random.size_up_to(100000));
      }
      for (void* block : blocks) api_free(block);
    });
  }
  void* kept = api_malloc(3000);
  for (int i = 0; i < 30; i++) {
    bool is_found = false;
    std::pair<void*, bool*> wanted{kept, &is_found};
    poolalloc_visit(
        [](const poolalloc_area*, void* block, int is_live, void* context) {
          auto& [p, found] = *static_cast<std::pair<void*, bool*>*>(context);
          if (block == p && is_live) *found = true;
          return 1;
        },
        &wanted);
    EXPECT_TRUE(is_found);
    EXPECT_GT(json_text().size(), 100u);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  api_free(kept);
}

TEST_F(StatisticsTest, NameHeapsOfTheProgramInJson) {
  poolalloc_heap_options options{sizeof options, "a \"name\"\n", 0};
  poolalloc_heap* heap = poolalloc_heap_new(&options);
  ASSERT_NE(heap, nullptr);
  ASSERT_NE(poolalloc_heap_alloc(heap, 1000), nullptr);
  const std::string text = json_text();
  EXPECT_NE(text.find(R"("kind":"program","name":"a \"name\"?","thread":0,"pools":1)"), std::string::npos) << text;
  poolalloc_heap_delete(heap);
}

// What the kernel was asked to name, as the address, the size and the name.
struct Named {
  uintptr_t start;
  size_t size;
  std::string name;
};
std::vector<Named> named;

TEST_F(StatisticsTest, MappingsHaveNamesWhereTheyAreWanted) {
  if constexpr (!kHasFaults) GTEST_SKIP() << "system calls cannot be watched in this build";
  stand_in.store_relaxed([](long number, const long(&a)[6]) {
    if (number != SYS_prctl) return kernel_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    EXPECT_EQ(a[0], 0x53564d41);
    named.push_back({uintptr_t(a[2]), size_t(a[3]), reinterpret_cast<const char*>(a[4])});
    return -long{EINVAL};  // as a kernel without them says
  });
  os_names_wanted.store_relaxed(true);
  regions_name();
  extents_name();
  std::vector<void*> blocks{api_malloc(size_t{200} << 20)};
  for (int i = 0; i < 100000; i++) blocks.push_back(api_malloc(1000));
  os_names_wanted.store_relaxed(false);
  stand_in.store_relaxed(nullptr);
  auto name_at = [](const void* p) {
    for (const Named& each : named) {
      if (uintptr_t(p) - each.start < each.size) return each.name;
    }
    return std::string();
  };
  EXPECT_EQ(name_at(blocks[0]), "poolalloc:large");
  EXPECT_EQ(name_at(blocks[1]), "poolalloc:pools");
  EXPECT_EQ(name_at(blocks.back()), "poolalloc:pools");
  for (void* block : blocks) api_free(block);
}

TEST_F(StatisticsTest, FreeBytesAreAllThatPoolsHaveBesideTheirLiveBlocks) {
  std::vector<void*> blocks;
  for (size_t size : {16, 100, 1000, 5000, 40000}) {
    for (int i = 0; i < 500; i++) blocks.push_back(api_malloc(size));
  }
  for (size_t i = 0; i < blocks.size(); i++) {
    if (i % 7 != 0) api_free(std::exchange(blocks[i], nullptr));
  }
  for (int round = 0; round < 2; round++) {
    Census census;
    census_take(census);
    const poolalloc_stats stats = stats_gather();
    EXPECT_EQ(stats.free_bytes, census.free_bytes + census.hidden_bytes + census.untouched_bytes);
    EXPECT_GT(census.untouched_bytes, 0u);
    EXPECT_EQ(stats.live_bytes, census.live_bytes + census.under_way_bytes);
    api_malloc_trim(0);
  }
  for (void* block : blocks) api_free(block);
}

TEST_F(StatisticsTest, MallinfoSaysTheMostWhereMoreDoesNotFit) {
  const struct mallinfo before = api_mallinfo();
  constexpr size_t kMiB = size_t{1} << 20;
  void* half = api_malloc(1000 * kMiB);
  EXPECT_EQ(api_mallinfo().hblkhd, before.hblkhd + int(1000 * kMiB));
  void* rest = api_malloc(2000 * kMiB);
  const struct mallinfo now = api_mallinfo();
  EXPECT_EQ(now.hblkhd, INT_MAX);
  EXPECT_EQ(api_mallinfo2().hblkhd, size_t(before.hblkhd) + 3000 * kMiB);
  EXPECT_EQ(now.hblks, before.hblks + 2);
  api_free(half);
  api_free(rest);
  EXPECT_EQ(api_mallinfo().hblkhd, before.hblkhd);
}

}  // namespace
}  // namespace poolalloc
