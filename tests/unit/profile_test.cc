// Laws of the profile (inspect/profile.h): what it says of blocks whose number and sizes are known.
//
// Always holds: only the test allocates from the library, the test's own containers from libc; each test frees all, and
// then the profile knows of no block.
#include "inspect/profile.h"

#include <math.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <numeric>
#include <string>

#define POOLALLOC_NO_SHORT_NAMES
#include "api/poolalloc.h"
#include "heap/guard.h"
#include "heap/program_heap.h"
#include "heap_test.h"
#include "inspect/growing.h"
#include "inspect/pprof.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::in_thread;
using test::in_threads;
using test::Random;

using Blocks = std::map<void*, size_t>;

// What the profile knows to be in use, by address.
Blocks known() {
  Blocks blocks;
  ProfileHeld held;
  profiled_blocks_each([&](const ProfiledBlock& block) {
    bool is_new = blocks.emplace(pointer_to<void>(block.address()), block.size).second;
    EXPECT_TRUE(is_new) << "a block is known twice";
  });
  return blocks;
}

ProfileSum sum_of(ProfileSum ProfileStack::*which) {
  ProfileSum sum{};
  ProfileHeld held;
  for (const ProfileStack* stack = profile.newest; stack != nullptr; stack = stack->older) {
    sum.blocks += (stack->*which).blocks;
    sum.bytes += (stack->*which).bytes;
  }
  return sum;
}

class ProfileTest : public test::HeapTest {
 protected:
  void SetUp() override {
    // The profile's own heap keeps what it has.
    ASSERT_TRUE(profile_start(1));
    profile_stop();
    HeapTest::SetUp();
  }
  void TearDown() override {
    profile_stop();
    EXPECT_TRUE(known().empty());
    EXPECT_EQ(profile.block_count, 0u);
    const ProfileSum live = sum_of(&ProfileStack::live);
    EXPECT_EQ(live.blocks, 0);
    EXPECT_EQ(live.bytes, 0);
    HeapTest::TearDown();
  }
};

// An estimate of `bytes` in blocks of up to `largest` bytes, from samples `interval` apart, is within five deviations.
void expect_estimate(double estimate, double bytes, double interval, double largest) {
  EXPECT_NEAR(estimate, bytes, 5 * sqrt(bytes * (interval + largest)));
}

void* alloc_somehow(Random& random, size_t size) {
  switch (random.below(4)) {
    case 0:
      return api_calloc(1, size);
    case 1:
      return api_memalign(size_t{16} << random.below(4), size);
    default:
      return api_malloc(size);
  }
}

// COMPAT 75: and what is in use is zero after the frees
TEST_F(ProfileTest, EstimatesAreRightForBlocksOfEachSize) {
  constexpr size_t kInterval = 8192;
  for (size_t size : {1, 16, 100, 500, 1024, 1025, 5000, 20'000, 65'536, 65'537, 300'000, 3'000'000}) {
    ASSERT_TRUE(profile_start(kInterval));
    const size_t count = size < 1000 ? 400'000 : 400'000'000 / size / (size < 60'000 ? 10 : 1);
    std::vector<void*> kept;
    for (size_t i = 0; i < count; i++) {
      void* block = api_malloc(size);
      ASSERT_NE(block, nullptr);
      i % 4 == 0 && kept.size() * size < (100 << 20) ? kept.push_back(block) : api_free(block);
    }
    const ProfileSum made = sum_of(&ProfileStack::made), live = sum_of(&ProfileStack::live);
    // A small block has the chance of its size class.
    const double scale = double(size) / double(api_good_size(size));
    expect_estimate(made.bytes / scale, double(count * size) / scale, kInterval, double(size));
    expect_estimate(live.bytes / scale, double(kept.size() * size) / scale, kInterval, double(size));
    EXPECT_NEAR(made.bytes / made.blocks, double(size), 1e-6 * double(size));
    for (void* block : kept) api_free(block);
    EXPECT_EQ(sum_of(&ProfileStack::live).bytes, 0);
    profile_stop();
  }
}

TEST_F(ProfileTest, EstimatesAreRightForManySizesInManyThreads) {
  constexpr size_t kInterval = 64 << 10, kLargest = 200'000;
  ASSERT_TRUE(profile_start(kInterval));
  std::atomic<size_t> bytes{0};
  in_threads(4, [&](unsigned t) {
    Random random(t);
    std::vector<void*> kept(500);
    for (int i = 0; i < 100'000; i++) {
      const size_t size = random.below(10) == 0 ? random.below(kLargest) : random.below(2000);
      void*& place = kept[random.below(kept.size())];
      api_free(place);
      place = alloc_somehow(random, size);
      // As if each block were of its class: the sums of what was asked for are compared elsewhere.
      bytes += size;
    }
    for (void* block : kept) api_free(block);
  });
  expect_estimate(sum_of(&ProfileStack::made).bytes, double(bytes), kInterval, kLargest);
}

TEST_F(ProfileTest, WithEachBlockAsASampleItIsExact) {
  ASSERT_TRUE(profile_start(1));
  std::mutex lock;
  Blocks live;
  std::atomic<size_t> made{0};
  // Blocks are freed, and changed, by any thread.
  in_threads(4, [&](unsigned t) {
    Random random(t + 7);
    for (int i = 0; i < 20'000; i++) {
      void* taken = nullptr;
      if (std::lock_guard held(lock); !live.empty() && random.below(2) == 0) {
        auto at = live.lower_bound(pointer_to<void>(random.below(UINT64_MAX)));
        if (at == live.end()) at = live.begin();
        taken = at->first;
        live.erase(at);
      }
      const size_t size = random.below(20) == 0 ? 60'000 + random.below(400'000) : random.size_up_to(3000);
      if (taken != nullptr && random.below(2) == 0) {
        api_free(taken);
        continue;
      }
      void* block = taken != nullptr ? api_realloc(taken, size == 0 ? 1 : size) : alloc_somehow(random, size);
      made++;
      std::lock_guard held(lock);
      live[block] = taken != nullptr && size == 0 ? 1 : size;
    }
  });
  const Blocks found = known();
  ASSERT_EQ(found.size(), live.size());
  for (auto [block, size] : live) {
    auto at = found.find(block);
    ASSERT_NE(at, found.end());
    // Of aligned blocks what was asked for is rounded up to the alignment.
    EXPECT_GE(at->second, size);
    EXPECT_LE(at->second, size + 128);
  }
  EXPECT_EQ(sum_of(&ProfileStack::live).blocks, double(live.size()));
  for (auto [block, size] : live) api_free(block);
}

TEST_F(ProfileTest, ABlockThatChangesItsSizeIsKnownByTheNewOne) {
  ASSERT_TRUE(profile_start(1));
  void* small = api_malloc(100);
  EXPECT_EQ(api_realloc(small, 112), small);
  EXPECT_EQ(known(), (Blocks{{small, 112}}));
  small = api_realloc(small, 5000);
  EXPECT_EQ(known(), (Blocks{{small, 5000}}));
  api_free(small);
  for (size_t from : {70'000, 200'000, 8'000'000}) {
    for (size_t to : {66'000, 100'000, 250'000, 9'000'000, 30'000'000}) {
      void* large = api_realloc(api_malloc(from), to);
      EXPECT_EQ(known(), (Blocks{{large, to}}));
      EXPECT_EQ(api_realloc(large, kRequestMax), nullptr);
      EXPECT_EQ(known(), (Blocks{{large, to}}));
      api_free(large);
      EXPECT_TRUE(known().empty());
    }
  }
}

TEST_F(ProfileTest, BlocksOfHeapsThatTheProgramMakesAreKnown) {
  ASSERT_TRUE(profile_start(1));
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  void* small = poolalloc_heap_alloc(heap, 100);
  void* large = poolalloc_heap_alloc(heap, 300'000);
  EXPECT_EQ(known(), (Blocks{{small, 100}, {large, 300'000}}));
  large = api_realloc(large, 700'000);
  api_free(small);
  EXPECT_EQ(known(), (Blocks{{large, 700'000}}));
  EXPECT_EQ(poolalloc_heap_of(large), heap);
  poolalloc_heap_push(heap);
  void* pushed = api_malloc(50);
  EXPECT_EQ(poolalloc_heap_of(pushed), heap);
  poolalloc_heap_pop();
  void* own = api_malloc(60);
  EXPECT_EQ(poolalloc_heap_of(own), nullptr);
  EXPECT_EQ(known(), (Blocks{{large, 700'000}, {pushed, 50}, {own, 60}}));
  poolalloc_heap_release_all(heap);
  EXPECT_EQ(known(), (Blocks{{own, 60}}));
  poolalloc_heap_alloc(heap, 10);
  poolalloc_heap_delete(heap);
  EXPECT_EQ(known(), (Blocks{{own, 60}}));
  api_free(own);
}

TEST_F(ProfileTest, WhoAllocatesInTurnIsSampledAlike) {
  // Each push gives metered blocks back.
  constexpr size_t kInterval = 4096, kCount = 500'000, kSize = 100;
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  ASSERT_TRUE(profile_start(kInterval));
  double in_heap = 0;
  for (size_t i = 0; i < kCount; i++) {
    api_free(api_malloc(kSize));
    const double before = sum_of(&ProfileStack::made).bytes;
    poolalloc_heap_push(heap);
    api_free(api_malloc(kSize));
    poolalloc_heap_pop();
    in_heap += sum_of(&ProfileStack::made).bytes - before;
  }
  expect_estimate(in_heap, kCount * kSize, kInterval, kSize);
  expect_estimate(sum_of(&ProfileStack::made).bytes - in_heap, kCount * kSize, kInterval, kSize);
  poolalloc_heap_delete(heap);
}

TEST_F(ProfileTest, AfterTheEndNothingIsNewAndFreesAreSeen) {
  ASSERT_TRUE(profile_start(1));
  void* before = api_malloc(100);
  profile_stop();
  void* after = api_malloc(100);
  EXPECT_EQ(known(), (Blocks{{before, 100}}));
  api_free(before);
  EXPECT_TRUE(known().empty());
  // A new profile begins without what an older one knew.
  ASSERT_TRUE(profile_start(1));
  before = api_malloc(100);
  profile_stop();
  ASSERT_TRUE(profile_start(1));
  EXPECT_TRUE(known().empty());
  EXPECT_EQ(sum_of(&ProfileStack::made).blocks, 0);
  api_free(before);
  api_free(after);
  EXPECT_EQ(sum_of(&ProfileStack::live).blocks, 0);
}

TEST_F(ProfileTest, ThreadsThatRunTakePartWhenItBegins) {
  std::atomic<bool> stop{false};
  std::atomic<unsigned> running{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; t++) {
    threads.emplace_back([&] {
      // Never out of its lists.
      void* block = api_malloc(64);
      running++;
      while (!stop) {
        api_free(block);
        block = api_malloc(64);
      }
      api_free(block);
    });
  }
  while (running != 3) usleep(1000);
  for (int round = 0; round < 20; round++) {
    ASSERT_TRUE(profile_start(1 << 20));
    for (int waits = 0; sum_of(&ProfileStack::made).blocks == 0; waits++) {
      ASSERT_LT(waits, 5000) << "no sample";
      usleep(1000);
    }
    profile_stop();
  }
  stop = true;
  for (std::thread& each : threads) each.join();
}

// COMPAT 75
TEST_F(ProfileTest, BeginsAndEndsAThousandTimesUnderLoad) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      Random random(t + 31);
      std::vector<std::pair<unsigned char*, size_t>> kept(200);
      while (!stop) {
        auto& [block, size] = kept[random.below(kept.size())];
        if (block != nullptr) {
          ASSERT_EQ(block[0], static_cast<unsigned char>(size));
          ASSERT_EQ(block[size - 1], static_cast<unsigned char>(size));
          api_free(block);
        }
        size = 1 + random.size_up_to(random.below(50) == 0 ? 300'000 : 2000);
        block = static_cast<unsigned char*>(alloc_somehow(random, size));
        block[0] = block[size - 1] = static_cast<unsigned char>(size);
      }
      for (auto [block, size] : kept) api_free(block);
    });
  }
  double samples = 0;
  for (int round = 0; round < 1000; round++) {
    ASSERT_TRUE(profile_start(round % 4 == 0 ? 1 : size_t{1024} << round % 7));
    if (round % 8 == 0) usleep(500);
    samples += sum_of(&ProfileStack::made).blocks;
    profile_stop();
  }
  EXPECT_GT(samples, 1000);
  stop = true;
  for (std::thread& each : threads) each.join();
}

TEST_F(ProfileTest, ThePeakIsKept) {
  ASSERT_TRUE(profile_start(1));
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; i++) blocks.push_back(api_malloc(1000));
  for (void* block : blocks) api_free(block);
  blocks.clear();
  for (int i = 0; i < 900; i++) blocks.push_back(api_malloc(1000));
  {
    ProfileHeld held;
    profile_note_peak();
  }
  EXPECT_EQ(sum_of(&ProfileStack::peak).blocks, 1000);
  EXPECT_EQ(sum_of(&ProfileStack::live).blocks, 900);
  for (void* block : blocks) api_free(block);
}

TEST_F(ProfileTest, AForkedChildGoesOnWithWhatItsParentKnew) {
  ASSERT_TRUE(profile_start(1));
  void* block = api_malloc(100);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; t++) {
    threads.emplace_back([&] {
      while (!stop) api_free(api_realloc(api_malloc(200), 100'000));
    });
  }
  for (int i = 0; i < 100; i++) {
    const int result = test::in_child([&] {
      if (known().count(block) != 1) return 1;
      void* own = api_malloc(300);
      if (known().count(own) != 1) return 2;
      api_free(block);
      api_free(own);
      if (known().count(block) + known().count(own) != 0) return 3;
      return 0;
    });
    ASSERT_EQ(result, 0);
  }
  stop = true;
  for (std::thread& each : threads) each.join();
  api_free(block);
}

TEST_F(ProfileTest, TheGuardGoesOnBesideIt) {
  in_thread([] {
    guard_start(64);
    const uint64_t before = sample_count();
    sample_start(100);
    ASSERT_TRUE(profile_start(10'000));
    for (int i = 0; i < 300'000; i++) api_free(api_malloc(128));
    sample_mallocs.interval.store_relaxed(0);
    EXPECT_NEAR(double(sample_count() - before), 3000, 300);
    expect_estimate(sum_of(&ProfileStack::made).bytes, 300'000 * 128, 10'000, 128);
  });
}

TEST_F(ProfileTest, AHeapWithoutSamplesIsKnownToHaveNone) {
  in_thread([] {
    poolalloc_heap* heap = poolalloc_heap_new(nullptr);
    const auto& profiled = reinterpret_cast<ProgramHeap*>(heap)->profiled;
    ASSERT_TRUE(profile_start(1));
    for (int round = 0; round < 3; round++) {
      std::vector<void*> blocks;
      for (size_t size : {10, 1000, 50'000, 1'000'000}) blocks.push_back(poolalloc_heap_alloc(heap, size));
      EXPECT_EQ(profiled.load_relaxed(), blocks.size());
      blocks.back() = api_realloc(blocks.back(), 2'000'000);
      for (void* block : blocks) api_free(block);
      EXPECT_EQ(profiled.load_relaxed(), 0u);
      poolalloc_heap_alloc(heap, 100);
      poolalloc_heap_release_all(heap);
      EXPECT_EQ(profiled.load_relaxed(), 0u);
    }
    poolalloc_heap_delete(heap);
  });
}

// --- The file -------------------------------------------------------------------------------------------------

TEST(Growing, KeepsItsItemsHoweverManyThereAre) {
  Growing<uint64_t> items;
  Random random(3);
  std::vector<uint64_t> expected;
  while (expected.size() < 500'000) {
    uint64_t some[1000];
    const size_t count = random.below(1000) + 1;
    for (size_t i = 0; i < count; i++) some[i] = random.next();
    items.add(some, count);
    expected.insert(expected.end(), some, some + count);
  }
  ASSERT_TRUE(items.is_whole);
  ASSERT_EQ(items.count, expected.size());
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), items.items));
}

// What is in a gzip file whose blocks are not compressed (RFC 1951, 1952); "": it is broken.
std::string unpacked(const Growing<char>& file) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(file.items);
  auto number = [&](size_t at, unsigned count) {
    uint32_t value = 0;
    for (unsigned i = count; i-- > 0;) value = value << 8 | bytes[at + i];
    return value;
  };
  std::string text;
  size_t at = 10;
  for (bool is_last = false; !is_last;) {
    if (at + 5 > file.count || bytes[at] > 1) return "";
    is_last = bytes[at] == 1;
    const uint32_t length = number(at + 1, 2);
    if (number(at + 3, 2) != (length ^ 0xffff) || at + 5 + length > file.count) return "";
    text.append(file.items + at + 5, length);
    at += 5 + length;
  }
  return at + 8 == file.count && number(at + 4, 4) == text.size() ? text : "";
}

// A stack of its own for each number, whose bits are the sides.
template <unsigned kSide>
__attribute__((noinline)) void* alloc_deep(unsigned number, unsigned depth) {
  void* block = depth == 0          ? api_malloc(100)
                : (number & 1) != 0 ? alloc_deep<1>(number >> 1, depth - 1)
                                    : alloc_deep<0>(number >> 1, depth - 1);
  // No tail call, and no two functions that are one.
  __asm__ __volatile__("" : : "i"(kSide), "r"(block) : "memory");
  return block;
}

TEST_F(ProfileTest, AFileOfManyStacksHasThemAll) {
  ASSERT_TRUE(profile_start(1));
  std::vector<void*> blocks;
  for (unsigned i = 0; i < 4096; i++) blocks.push_back(alloc_deep<0>(i, 12));
  for (int round = 0; round < 2; round++) {
    Growing<char> file;
    ASSERT_TRUE(pprof_make(file));
    const std::string text = unpacked(file);
    EXPECT_GT(text.size(), size_t{65535} * 2) << "too small to have several blocks, or broken";
  }
  for (void* block : blocks) api_free(block);
}

}  // namespace
}  // namespace poolalloc
