// Laws of the pool chain (pool/pool.h), on a source backed by a static array, and of the public
// functions' errno (api/poolalloc.h).
//
// Always holds: the source counts its calls, fails where a test says so, and has a guard behind each
// buffer; every test ends with each buffer given back exactly once, with its size.
#define POOLALLOC_NO_SHORT_NAMES
#include "pool/pool.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <time.h>

#include <map>

#include "api/poolalloc.h"
#include "base/bits.h"
#include "base/constants.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::bytes_all;
using test::Random;

// --- The source -------------------------------------------------------------------------------------

constexpr size_t kArenaSize = size_t{32} << 20;
constexpr size_t kGuard = 64;
alignas(4096) char arena[kArenaSize];

struct Arena {
  size_t used;
  std::map<char*, size_t> lent;
  unsigned acquire_calls, release_calls;
  std::function<bool(unsigned)> fails;  // the n-th call, from 0
};
Arena source_state;

void* arena_acquire(size_t size) {
  Arena& a = source_state;
  bool fail = a.fails && a.fails(a.acquire_calls);
  a.acquire_calls++;
  if (a.lent.empty()) a.used = 0;
  // 16-aligned and no more: what larger alignments need must come from the chain.
  size_t start = round_up(a.used, 32) + 16;
  if (fail || size > kArenaSize || start + size + kGuard > kArenaSize) return nullptr;
  a.used = start + size + kGuard;
  memset(arena + start, 0xaa, size);
  memset(arena + start + size, 0xfd, kGuard);
  a.lent[arena + start] = size;
  return arena + start;
}

void arena_release(void* buffer, size_t size) {
  auto found = source_state.lent.find(static_cast<char*>(buffer));
  source_state.release_calls++;
  if (found == source_state.lent.end()) {
    ADD_FAILURE() << "released what is not lent";
    return;
  }
  EXPECT_EQ(found->second, size) << "released with another size";
  EXPECT_TRUE(bytes_all(found->first + found->second, kGuard, 0xfd)) << "written behind the buffer";
  memset(buffer, 0xdd, found->second);
  source_state.lent.erase(found);
}

constexpr PoolSource kSource{arena_acquire, arena_release};

// The buffer that contains [p, p + size), or nullptr.
char* lent_buffer(const void* p, size_t size) {
  char* at = const_cast<char*>(static_cast<const char*>(p));
  auto after = source_state.lent.upper_bound(at);
  if (after == source_state.lent.begin()) return nullptr;
  auto [start, length] = *--after;
  size_t offset = size_t(at - start);
  return offset <= length && size <= length - offset ? start : nullptr;
}

// --- Looking at chains ------------------------------------------------------------------------------

std::vector<Pool*> chain_of(Pool& pool) {
  std::vector<Pool*> chain;
  for (Pool* each = &pool; each != nullptr; each = each->next) chain.push_back(each);
  return chain;
}

// Valid, and every buffer is one that the source has lent.
bool is_sound(Pool& pool) {
  for (Pool* each : chain_of(pool)) {
    if (each->p != nullptr && lent_buffer(each->p, each->capacity) == nullptr) return false;
  }
  return pool_is_valid(pool);
}

std::vector<size_t> snapshot(Pool& pool) {
  std::vector<size_t> words{address_of(pool.current)};
  for (Pool* each : chain_of(pool)) {
    words.insert(words.end(), {address_of(each), address_of(each->p), each->capacity, each->size});
  }
  return words;
}

void* alloc(Pool& pool, size_t size) { return pool_alloc(pool, size, pool_natural_alignment(size), kSource); }

class PoolChain : public testing::Test {
 protected:
  void SetUp() override { source_state = Arena{}; }
  void TearDown() override {
    EXPECT_TRUE(source_state.lent.empty()) << "buffers are lost";
    source_state = Arena{};
  }
};

// --- Laws -------------------------------------------------------------------------------------------

TEST_F(PoolChain, APoolForTwoIntsHoldsTwoInts) {
  Pool pool = pool_init(2 * sizeof(int), kSource);
  char* a = static_cast<char*>(alloc(pool, sizeof(int)));
  char* b = static_cast<char*>(alloc(pool, sizeof(int)));
  EXPECT_EQ(a, pool.p);
  EXPECT_EQ(b, a + sizeof(int));
  EXPECT_EQ(pool.next, nullptr);
  EXPECT_EQ(pool.size, pool.capacity);
  EXPECT_NE(alloc(pool, sizeof(int)), nullptr);
  EXPECT_NE(pool.next, nullptr);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, InitTakesOneBufferOfTheCapacityAndNoneForZero) {
  Pool none = pool_init(0, kSource);
  EXPECT_EQ(source_state.acquire_calls, 0u);
  EXPECT_EQ(none.p, nullptr);
  Pool pool = pool_init(100, kSource);
  EXPECT_EQ(source_state.acquire_calls, 1u);
  EXPECT_EQ(source_state.lent.begin()->second, 100u);
  EXPECT_EQ(pool.capacity, 100u);
  EXPECT_NE(alloc(none, 1), nullptr);
  pool_free(none, kSource);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, NaturalAlignmentIsTheLargestPowerOfTwoNotAboveTheSizeAtMost16) {
  EXPECT_EQ(pool_natural_alignment(0), 1u);
  for (size_t size = 1; size < 5000; size++) {
    size_t expected = 1;
    while (expected * 2 <= size && expected < 16) expected *= 2;
    ASSERT_EQ(pool_natural_alignment(size), expected) << size;
  }
  EXPECT_EQ(pool_natural_alignment(SIZE_MAX), 16u);
}

TEST_F(PoolChain, BlocksAreAlignedAsAsked) {
  Random random(3);
  Pool pool = pool_init(333, kSource);
  for (int i = 0; i < 3000; i++) {
    size_t size = random.below(200);
    size_t alignment = size_t{1} << random.below(i % 100 == 0 ? 17 : 9);
    char* p = static_cast<char*>(pool_alloc(pool, size, alignment, kSource));
    ASSERT_NE(p, nullptr);
    ASSERT_EQ(address_of(p) % alignment, 0u);
    ASSERT_NE(lent_buffer(p, size == 0 ? 1 : size), nullptr);
    ASSERT_TRUE(is_sound(pool));
  }
  pool_free(pool, kSource);
}

TEST_F(PoolChain, ZeroSizesAreDistinct) {
  Pool pool = pool_init(8, kSource);
  std::map<void*, int> seen;
  for (int i = 0; i < 3000; i++) {
    void* p = alloc(pool, 0);
    ASSERT_NE(p, nullptr);
    ASSERT_EQ(seen[p]++, 0);
  }
  EXPECT_EQ(pool.size, 8u) << "a zero size counts as one byte";
  pool_free(pool, kSource);
}

TEST_F(PoolChain, EachPoolHasTwiceTheCapacityBetween1KiBAnd1MiB) {
  Pool pool = pool_init(600, kSource);
  for (int i = 0; i < 7000; i++) ASSERT_NE(alloc(pool, 1000), nullptr);
  std::vector<Pool*> chain = chain_of(pool);
  ASSERT_GT(chain.size(), 12u);
  for (size_t i = 1; i < chain.size(); i++) {
    ASSERT_GE(chain[i]->capacity + 48, kPoolGrowthMin);
    ASSERT_LE(chain[i]->capacity + 48, kPoolGrowthMax);
    if (chain[i]->capacity + 48 < kPoolGrowthMax) {
      ASSERT_EQ(chain[i]->capacity, 2 * chain[i - 1]->capacity);
    }
  }
  EXPECT_EQ(chain.back()->capacity + 48, kPoolGrowthMax);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, AFirstPoolAbove1MiBIsWhatPoolsAreLike) {
  Pool pool = pool_init(size_t{3} << 20, kSource);
  for (int i = 0; i < 4; i++) ASSERT_NE(alloc(pool, size_t{2} << 20), nullptr);
  for (Pool* each : chain_of(pool)) EXPECT_EQ(each->capacity, size_t{3} << 20);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, AnOversizeRequestKeepsTheCurrentPoolInUse) {
  Pool pool = pool_init(1024, kSource);
  char* a = static_cast<char*>(alloc(pool, 16));
  ASSERT_NE(alloc(pool, 100000), nullptr);
  EXPECT_EQ(alloc(pool, 16), a + 16);
  ASSERT_NE(alloc(pool, 300000), nullptr);
  EXPECT_EQ(alloc(pool, 16), a + 32);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, OverflowingRequestsFailAndChangeNothing) {
  Pool pool = pool_init(1024, kSource);
  void* block = alloc(pool, 24);
  std::vector<size_t> before = snapshot(pool);
  unsigned calls = source_state.acquire_calls;
  for (size_t size : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16, SIZE_MAX - 47, SIZE_MAX - 48,
                      SIZE_MAX / 2 + 1, SIZE_MAX / 2, SIZE_MAX / 2 - 47}) {
    for (size_t alignment : {size_t{1}, size_t{16}, size_t{4096}, size_t{1} << 62, size_t{1} << 63}) {
      EXPECT_EQ(pool_alloc(pool, size, alignment, kSource), nullptr) << size << " " << alignment;
    }
    EXPECT_EQ(pool_realloc(pool, block, 24, size, kSource), nullptr) << size;
    EXPECT_EQ(pool_realloc(pool, nullptr, 0, size, kSource), nullptr) << size;
  }
  EXPECT_EQ(pool_alloc(pool, 1, size_t{1} << 63, kSource), nullptr);
  EXPECT_EQ(snapshot(pool), before);
  EXPECT_EQ(source_state.acquire_calls, calls) << "the source was asked for an impossible size";
  pool_free(pool, kSource);
}

TEST_F(PoolChain, AnOverflowingCapacityNeverYieldsBlocksOutsideABuffer) {
  for (size_t below : {0, 1, 15, 16, 40, 47, 48, 49, 1000}) {
    for (size_t capacity : {SIZE_MAX - below, SIZE_MAX / 2 - below, SIZE_MAX / 2 + 1 + below}) {
      Pool pool = pool_init(capacity, kSource);
      EXPECT_EQ(pool.p, nullptr);
      void* p = alloc(pool, 10);
      EXPECT_TRUE(p == nullptr || lent_buffer(p, 10) != nullptr) << "capacity SIZE_MAX - " << SIZE_MAX - capacity;
      EXPECT_TRUE(is_sound(pool)) << "capacity SIZE_MAX - " << SIZE_MAX - capacity;
      if (is_sound(pool)) pool_free(pool, kSource);
      source_state.lent.clear();
    }
  }
}

// --- Realloc ----------------------------------------------------------------------------------------

TEST_F(PoolChain, ReallocOfTheLastBlockIsInPlaceWhileItFits) {
  Pool pool = pool_init(1024, kSource);
  alloc(pool, 32);
  void* last = alloc(pool, 16);
  EXPECT_EQ(pool_realloc(pool, last, 16, 500, kSource), last);
  EXPECT_EQ(pool.size, 532u);
  EXPECT_EQ(pool_realloc(pool, last, 500, 1024 - 32, kSource), last);
  EXPECT_EQ(pool.size, 1024u);
  EXPECT_EQ(pool_realloc(pool, last, 1024 - 32, 8, kSource), last) << "shrinks";
  EXPECT_EQ(pool.size, 40u) << "and gives the rest back";
  pool_free(pool, kSource);
}

TEST_F(PoolChain, ReallocOfAnotherBlockMovesItWithItsContents) {
  Pool pool = pool_init(1024, kSource);
  void* block = alloc(pool, 100);
  memset(block, 7, 100);
  alloc(pool, 1);
  void* moved = pool_realloc(pool, block, 100, 200, kSource);
  EXPECT_NE(moved, block);
  EXPECT_TRUE(bytes_all(moved, 100, 7));
  EXPECT_EQ(address_of(moved) % 16, 0u);
  EXPECT_EQ(pool_realloc(pool, block, 100, 50, kSource), block) << "shrinking needs no move";
  pool_free(pool, kSource);
}

TEST_F(PoolChain, ReallocThatDoesNotFitMovesToAnotherPool) {
  Pool pool = pool_init(64, kSource);
  void* block = alloc(pool, 64);
  memset(block, 9, 64);
  void* moved = pool_realloc(pool, block, 64, 65, kSource);
  ASSERT_NE(moved, nullptr);
  EXPECT_NE(lent_buffer(moved, 65), lent_buffer(block, 64));
  EXPECT_TRUE(bytes_all(moved, 64, 9));
  pool_free(pool, kSource);
}

TEST_F(PoolChain, ReallocAlignsForTheNewSize) {
  Pool pool = pool_init(1024, kSource);
  alloc(pool, 1);
  void* block = alloc(pool, 2);
  memset(block, 3, 2);
  void* moved = pool_realloc(pool, block, 2, 16, kSource);
  EXPECT_EQ(address_of(moved) % 16, 0u);
  EXPECT_TRUE(bytes_all(moved, 2, 3));
  pool_free(pool, kSource);
}

TEST_F(PoolChain, ReallocOfANullBlockAllocates) {
  Pool pool = pool_init(1024, kSource);
  EXPECT_EQ(pool_realloc(pool, nullptr, 12345, 16, kSource), pool.p);
  EXPECT_EQ(pool.size, 16u);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, ReallocToAndFromZeroKeepsBlocksDistinct) {
  Pool pool = pool_init(1024, kSource);
  void* a = alloc(pool, 0);
  void* b = pool_realloc(pool, a, 0, 0, kSource);
  void* c = alloc(pool, 0);
  EXPECT_EQ(a, b);
  EXPECT_NE(b, c);
  pool_free(pool, kSource);
}

// --- Reset and free -----------------------------------------------------------------------------------

TEST_F(PoolChain, ResetKeepsBuffersAndTheirOrder) {
  Pool pool = pool_init(100, kSource);
  std::vector<void*> first_time;
  for (int i = 0; i < 500; i++) first_time.push_back(alloc(pool, 64));
  std::vector<Pool*> chain = chain_of(pool);
  unsigned calls = source_state.acquire_calls;
  for (int round = 0; round < 3; round++) {
    pool_reset(pool);
    for (Pool* each : chain_of(pool)) ASSERT_EQ(each->size, 0u);
    for (void* expected : first_time) ASSERT_EQ(alloc(pool, 64), expected);
  }
  EXPECT_EQ(chain_of(pool), chain);
  EXPECT_EQ(source_state.acquire_calls, calls);
  EXPECT_EQ(source_state.release_calls, 0u);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, AnEmptyPoolTooSmallForARequestIsKeptForLater) {
  Pool pool = pool_init(1008, kSource);
  alloc(pool, 1000);
  void* second = alloc(pool, 1000);
  pool_reset(pool);
  alloc(pool, 1000);
  ASSERT_NE(alloc(pool, 100000), nullptr);
  EXPECT_EQ(alloc(pool, 1000), second);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, FreeGivesEachBufferBackOnceAndThePoolWorksAgain) {
  Pool pool = pool_init(100, kSource);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 300; i++) ASSERT_NE(alloc(pool, 64), nullptr);
    unsigned lent = unsigned(source_state.lent.size()), before = source_state.release_calls;
    pool_free(pool, kSource);
    EXPECT_EQ(source_state.release_calls - before, lent);
    EXPECT_EQ(pool.p, nullptr);
    EXPECT_EQ(pool.size, 0u);
    EXPECT_EQ(pool.capacity, 100u);
    EXPECT_EQ(pool.next, nullptr);
  }
  pool_free(pool, kSource);
  pool_reset(pool);
  EXPECT_TRUE(is_sound(pool));
}

// --- Failure -------------------------------------------------------------------------------------------

// Runs a scenario of every kind of call; each failed call must have changed nothing. How many times
// the source was asked.
unsigned run_scenario(const std::function<bool(unsigned)>& fails) {
  source_state = Arena{};
  source_state.fails = fails;
  Pool pool = pool_init(256, kSource);
  std::vector<std::pair<char*, size_t>> blocks;
  unsigned char value = 0;
  auto keep = [&](void* p, size_t size) {
    if (p == nullptr) return;
    ASSERT_NE(lent_buffer(p, size), nullptr);
    memset(p, ++value, size);
    blocks.push_back({static_cast<char*>(p), size});
  };
  auto unchanged_if_null = [&](auto&& call) {
    std::vector<size_t> before = snapshot(pool);
    void* p = call();
    if (p == nullptr) {
      EXPECT_EQ(snapshot(pool), before) << "a failed call has changed the chain";
    }
    EXPECT_TRUE(is_sound(pool));
    return p;
  };
  for (int round = 0; round < 2; round++) {
    for (size_t size : {100, 5000, 100, 100, 20000, 16, 200, 90000, 700, 400000, 16}) {
      keep(unchanged_if_null([&] { return alloc(pool, size); }), size);
    }
    keep(unchanged_if_null([&] { return pool_alloc(pool, 64, 4096, kSource); }), 64);
    for (size_t i = 0; i < blocks.size(); i += 3) {
      char*& p = blocks[i].first;
      size_t& size = blocks[i].second;
      unsigned char byte = static_cast<unsigned char>(*p);
      void* moved = unchanged_if_null([&] { return pool_realloc(pool, p, size, size * 3, kSource); });
      if (moved == nullptr) {
        EXPECT_TRUE(bytes_all(p, size, byte));
        continue;
      }
      EXPECT_TRUE(bytes_all(moved, size, byte));
      p = static_cast<char*>(moved);
      size *= 3;
      memset(p, byte, size);
    }
    for (auto [p, size] : blocks) EXPECT_TRUE(bytes_all(p, size, static_cast<unsigned char>(*p)));
    pool_reset(pool);
    blocks.clear();
  }
  pool_free(pool, kSource);
  EXPECT_TRUE(source_state.lent.empty());
  return source_state.acquire_calls;
}

TEST_F(PoolChain, FailureAtAnyCallLosesNothingAndChangesNothing) {
  unsigned calls = run_scenario(nullptr);
  ASSERT_GE(calls, 7u);
  for (unsigned n = 0; n < calls && !HasFailure(); n++) {
    SCOPED_TRACE(n);
    run_scenario([n](unsigned call) { return call == n; });
    run_scenario([n](unsigned call) { return call >= n; });
  }
}

TEST_F(PoolChain, FailureAtAnySetOfTheFirstCallsLosesNothingAndChangesNothing) {
  for (unsigned set = 0; set < 4096 && !HasFailure(); set++) {
    SCOPED_TRACE(set);
    run_scenario([set](unsigned call) { return call < 12 && ((set >> call) & 1) != 0; });
  }
}

TEST_F(PoolChain, AFailedCallDoesNotPassWhatHasRoom) {
  Pool pool = pool_init(1024, kSource);
  char* a = static_cast<char*>(alloc(pool, 900));
  ASSERT_NE(alloc(pool, 100000), nullptr);
  source_state.fails = [](unsigned) { return true; };
  EXPECT_EQ(alloc(pool, 200), nullptr);
  EXPECT_EQ(alloc(pool, 16), a + 912) << "the pool in use still has room for this";
  pool_free(pool, kSource);
}

TEST_F(PoolChain, AFirstBufferThatCouldNotBeHadIsTriedAgain) {
  source_state.fails = [](unsigned call) { return call < 1; };
  Pool pool = pool_init(100, kSource);
  EXPECT_EQ(pool.p, nullptr);
  EXPECT_EQ(pool.capacity, 100u);
  void* p = alloc(pool, 50);
  EXPECT_NE(p, nullptr);
  EXPECT_EQ(p, pool.p);
  pool_free(pool, kSource);
}

// --- Cost ----------------------------------------------------------------------------------------------

double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

// Seconds for a million allocations after a reset of a chain of at least `pools` pools.
double seconds_for_a_million(size_t pools) {
  Pool pool = pool_init(16, kSource);
  // Each is oversize, so each gets a pool of its own.
  for (size_t i = 0; i < pools; i++) EXPECT_NE(alloc(pool, 2000), nullptr);
  for (int i = 0; i < 1000000; i++) EXPECT_NE(alloc(pool, 8), nullptr);
  double best = 1e9;
  for (int round = 0; round < 3; round++) {
    pool_reset(pool);
    double start = cpu_seconds();
    for (int i = 0; i < 1000000; i++) {
      if (alloc(pool, 8) == nullptr) ADD_FAILURE();
    }
    best = std::min(best, cpu_seconds() - start);
  }
  // Nothing fits any more: failing must not walk the chain either.
  source_state.fails = [](unsigned) { return true; };
  double start = cpu_seconds();
  for (int i = 0; i < 1000000; i++) {
    if (alloc(pool, size_t{30} << 20) != nullptr) ADD_FAILURE();
  }
  best = std::max(best, cpu_seconds() - start);
  source_state.fails = nullptr;
  pool_free(pool, kSource);
  return best;
}

TEST_F(PoolChain, AMillionAllocationsCostTheSameWhateverTheLengthOfTheChain) {
  double shortest = seconds_for_a_million(1);
  double longest = seconds_for_a_million(4000);
  EXPECT_LT(longest, 10 * shortest + 0.1);
}

// --- Everything at random ----------------------------------------------------------------------------------

TEST_F(PoolChain, BehavesLikeTheModelUnderRandomUse) {
  struct Block {
    char* p;
    size_t size;
    unsigned char value;
  };
  for (uint64_t seed = 0; seed < 60; seed++) {
    SCOPED_TRACE(seed);
    Random random(seed);
    unsigned failure_percent = seed % 3 == 0 ? 20 : 0;
    source_state.fails = [&](unsigned) { return random.below(100) < failure_percent; };
    Pool pool = pool_init(random.size_up_to(5000), kSource);
    std::vector<Block> blocks;
    auto check = [&](const Block& b) { ASSERT_TRUE(bytes_all(b.p, b.size, b.value)) << "overwritten"; };
    for (int i = 0; i < 1500 && !HasFailure(); i++) {
      std::vector<size_t> before = snapshot(pool);
      unsigned char value = static_cast<unsigned char>(random.next() | 1);
      size_t size = random.size_up_to(20000);
      uint64_t what = random.below(1000);
      if (what < 600) {
        size_t alignment = what < 400 ? pool_natural_alignment(size) : size_t{1} << random.below(12);
        char* p = static_cast<char*>(pool_alloc(pool, size, alignment, kSource));
        if (p == nullptr) {
          ASSERT_EQ(snapshot(pool), before);
          continue;
        }
        ASSERT_EQ(address_of(p) % alignment, 0u);
        ASSERT_NE(lent_buffer(p, size), nullptr);
        memset(p, value, size);
        blocks.push_back({p, size, value});
      } else if (what < 980) {
        if (blocks.empty()) continue;
        Block& b = random.below(3) == 0 ? blocks.back() : blocks[random.below(blocks.size())];
        check(b);
        char* p = static_cast<char*>(pool_realloc(pool, b.p, b.size, size, kSource));
        if (p == nullptr) {
          ASSERT_EQ(snapshot(pool), before);
          check(b);
          continue;
        }
        ASSERT_TRUE(bytes_all(p, std::min(size, b.size), b.value));
        if (p != b.p) {
          ASSERT_EQ(address_of(p) % pool_natural_alignment(size), 0u);
        }
        ASSERT_NE(lent_buffer(p, size), nullptr);
        memset(p, value, size);
        b = {p, size, value};
      } else {
        for (const Block& b : blocks) check(b);
        blocks.clear();
        what < 995 ? pool_reset(pool) : pool_free(pool, kSource);
      }
      ASSERT_TRUE(is_sound(pool));
    }
    for (const Block& b : blocks) check(b);
    source_state.fails = nullptr;
    pool_free(pool, kSource);
    ASSERT_TRUE(source_state.lent.empty());
  }
}

// --- Marks -------------------------------------------------------------------------------------------------

TEST_F(PoolChain, ARewindLeavesWhatWasThereAndNothingElse) {
  struct Block {
    char* p;
    size_t size;
    unsigned char value;
  };
  struct Marked {
    PoolMark mark;
    size_t blocks, used;
  };
  for (uint64_t seed = 0; seed < 60; seed++) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Pool pool = pool_init(random.size_up_to(5000), kSource);
    std::vector<Block> blocks;
    std::vector<Marked> marks;
    for (int i = 0; i < 1500 && !HasFailure(); i++) {
      const uint64_t what = random.below(100);
      if (what < 80) {
        const size_t size = random.size_up_to(6000);
        char* p = static_cast<char*>(alloc(pool, size));
        ASSERT_NE(p, nullptr);
        const auto value = static_cast<unsigned char>(random.next() | 1);
        memset(p, value, size);
        blocks.push_back({p, size, value});
      } else if (what < 83 && !blocks.empty() && (marks.empty() || blocks.size() > marks.back().blocks)) {
        // The last block, smaller or larger.
        Block& b = blocks.back();
        const size_t size = random.size_up_to(3000);
        char* p = static_cast<char*>(pool_realloc(pool, b.p, b.size, size, kSource));
        ASSERT_NE(p, nullptr);
        memset(p, b.value, size);
        b = {p, size, b.value};
      } else if (what < 90) {
        marks.push_back({pool_mark(pool), blocks.size(), pool_used(pool)});
      } else if (!marks.empty() && what < 99) {
        const size_t to = random.below(marks.size());
        pool_rewind(pool, marks[to].mark);
        EXPECT_EQ(pool_used(pool), marks[to].used);
        blocks.resize(marks[to].blocks);
        // The mark itself can be gone back to again.
        marks.resize(to + random.below(2));
      } else {
        pool_reset(pool);
        blocks.clear();
        marks.clear();
        EXPECT_EQ(pool_used(pool), 0u);
      }
      ASSERT_TRUE(is_sound(pool));
      for (const Block& b : blocks) ASSERT_TRUE(bytes_all(b.p, b.size, b.value)) << "overwritten";
    }
    pool_free(pool, kSource);
  }
}

TEST_F(PoolChain, MarkingAndGoingBackAgainAndAgainTakesNoMoreBuffers) {
  Pool pool = pool_init(100, kSource);
  for (int i = 0; i < 50; i++) alloc(pool, 1000);
  const PoolMark mark = pool_mark(pool);
  size_t taken = 0;
  for (int round = 0; round < 1000; round++) {
    for (int i = 0; i < 20; i++) alloc(pool, i % 5 == 0 ? 20000 : 300);
    pool_rewind(pool, mark);
    if (round == 0) taken = pool.taken;
  }
  EXPECT_LE(pool.taken, taken * 2);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, ARewindIsNotMisledByWhatReallocHasMadeSmaller) {
  for (size_t less : {1, 1000, 999999}) {
    Pool pool = pool_init(2000000, kSource);
    void* last = alloc(pool, 1000000);
    // In a pool of its own.
    char* aligned = static_cast<char*>(pool_alloc(pool, 10, 1 << 21, kSource));
    ASSERT_NE(aligned, nullptr);
    memset(aligned, 'a', 10);
    EXPECT_EQ(pool_realloc(pool, last, 1000000, 1000000 - less, kSource), last);
    const PoolMark mark = pool_mark(pool);
    alloc(pool, 100);
    pool_rewind(pool, mark);
    EXPECT_TRUE(pool_is_valid(pool));
    for (int i = 0; i < 40; i++) memset(alloc(pool, 100000), 'b', 100000);
    EXPECT_TRUE(bytes_all(aligned, 10, 'a'));
    pool_free(pool, kSource);
  }
}

TEST_F(PoolChain, MarksAndBlocksWithPoolsOfTheirOwnCostTheSameHoweverManyThereAre) {
  auto seconds = [](int owns) {
    Pool pool = pool_init(16, kSource);
    for (int i = 0; i < owns; i++) EXPECT_NE(alloc(pool, 4000), nullptr);
    double start = cpu_seconds();
    for (int i = 0; i < 20000; i++) {
      const PoolMark mark = pool_mark(pool);
      alloc(pool, 200);
      alloc(pool, 4100);
      pool_rewind(pool, mark);
    }
    start = cpu_seconds() - start;
    pool_free(pool, kSource);
    return start;
  };
  const double few = seconds(1), many = seconds(5000);
  EXPECT_LT(many, 10 * few + 0.1);
}

TEST_F(PoolChain, TheLimitIsOfBuffersAndAFailureChangesNothing) {
  Pool pool = pool_init(1000, kSource);
  pool.limit = 50000;
  std::vector<size_t> before;
  while (true) {
    before = snapshot(pool);
    if (alloc(pool, 700) == nullptr) break;
  }
  EXPECT_EQ(snapshot(pool), before);
  EXPECT_LE(pool.taken, 50000u);
  EXPECT_GT(pool.taken, 30000u);
  pool_reset(pool);
  EXPECT_NE(alloc(pool, 700), nullptr) << "what was taken is there";
  pool_free(pool, kSource);
  EXPECT_EQ(pool.limit, 50000u);
  EXPECT_EQ(pool.taken, 0u);
  EXPECT_EQ(alloc(pool, 60000), nullptr);
  EXPECT_NE(alloc(pool, 10000), nullptr);
  pool_free(pool, kSource);
}

TEST_F(PoolChain, ALimitThatComesLateIsOneAllTheSame) {
  for (size_t limit : {1, 1000, 20000}) {
    Pool pool = pool_init(1000, kSource);
    while (pool.taken < 30000) ASSERT_NE(alloc(pool, 700), nullptr);
    pool.limit = limit;
    const size_t taken = pool.taken;
    while (alloc(pool, 700) != nullptr) ASSERT_EQ(pool.taken, taken) << "what is taken already may be used";
    for (size_t size : {1000, 100000}) EXPECT_EQ(alloc(pool, size), nullptr);
    EXPECT_EQ(pool.taken, taken);
    pool_free(pool, kSource);
  }
}

// --- The public functions' errno ------------------------------------------------------------------------------

TEST(PublicPool, SaysWhyItFails) {
  errno = 0;
  Pool pool = poolalloc_pool_init(PTRDIFF_MAX);
  EXPECT_EQ(pool.p, nullptr);
  EXPECT_EQ(errno, ENOMEM);

  pool = poolalloc_pool_init(64);
  void* block = poolalloc_pool_alloc(&pool, 8);
  memset(block, 5, 8);
  for (size_t size : {SIZE_MAX, size_t{PTRDIFF_MAX} + 1, size_t{PTRDIFF_MAX}}) {
    errno = 0;
    EXPECT_EQ(poolalloc_pool_alloc(&pool, size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(poolalloc_pool_alloc_aligned(&pool, size, 64), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(poolalloc_pool_realloc(&pool, block, 8, size), nullptr);
    EXPECT_EQ(errno, ENOMEM);
  }
  EXPECT_TRUE(bytes_all(block, 8, 5));
  for (size_t alignment : {size_t{0}, size_t{3}, size_t{24}, SIZE_MAX}) {
    errno = 0;
    EXPECT_EQ(poolalloc_pool_alloc_aligned(&pool, 8, alignment), nullptr);
    EXPECT_EQ(errno, EINVAL) << alignment;
  }
  poolalloc_pool_free(&pool);
}

TEST(PublicPool, LeavesErrnoAloneWhenItSucceeds) {
  errno = 1234;
  Pool pool = poolalloc_pool_init(64);
  for (int i = 0; i < 10000; i++) ASSERT_NE(poolalloc_pool_alloc(&pool, 100), nullptr);
  ASSERT_NE(poolalloc_pool_alloc_aligned(&pool, 1, 1 << 20), nullptr);
  poolalloc_pool_reset(&pool);
  poolalloc_pool_free(&pool);
  EXPECT_EQ(errno, 1234);
}

TEST(PublicPool, MakesZerosAndStrings) {
  poolalloc_pool pool = poolalloc_pool_init(1000);
  for (int round = 0; round < 2; round++) {
    char* text = poolalloc_pool_strdup(&pool, "a string");
    EXPECT_STREQ(text, "a string");
    char* printed = poolalloc_pool_printf(&pool, "%d %s %5000d", 42, text, 7);
    ASSERT_NE(printed, nullptr);
    EXPECT_EQ(strlen(printed), 3 + 8 + 1 + 5000u);
    EXPECT_EQ(strncmp(printed, "42 a string ", 12), 0);
    EXPECT_STREQ(poolalloc_pool_printf(&pool, "%s", ""), "");
    char* zeros = static_cast<char*>(poolalloc_pool_alloc_zeroed(&pool, 300));
    EXPECT_TRUE(bytes_all(zeros, 300, 0));
    memset(zeros, 1, 300);
    const poolalloc_pool_stats stats = poolalloc_pool_stats_get(&pool);
    EXPECT_GE(stats.used_bytes, 9 + 5013 + 300u);
    EXPECT_GE(stats.taken_bytes, stats.used_bytes);
    EXPECT_EQ(stats.limit_bytes, 0u);
    poolalloc_pool_reset(&pool);
  }
  poolalloc_pool_limit(&pool, 1);
  errno = 0;
  EXPECT_EQ(poolalloc_pool_printf(&pool, "%100000d", 1), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  poolalloc_pool_free(&pool);
}

TEST(PublicPool, InitOfNothingIsNoFailure) {
  errno = 1234;
  Pool pool = poolalloc_pool_init(0);
  EXPECT_EQ(errno, 1234);
  EXPECT_NE(poolalloc_pool_alloc(&pool, 1), nullptr);
  poolalloc_pool_free(&pool);
}

}  // namespace
}  // namespace poolalloc
