// Laws of the pool of equal blocks (pool/block_pool.h), on a buffer of the test's own.
//
// Always holds: no heap is involved; the pool stays on its parked list, as in state partial.
#include "pool/block_pool.h"

#include <gtest/gtest.h>

#include <set>

#include "heap/size_class.h"
#include "test_util.h"

namespace poolalloc {
namespace {

constexpr size_t kHeader = 4160;

class BlockPoolTest : public testing::Test {
 protected:
  void init(size_t size, size_t first_offset = 0) {
    block_size = size;
    span = size <= kNarrowBlockMax ? kSliceSize : kWidePoolSlices * kSliceSize;
    buffer.assign(span + kSliceSize, 0);
    base = reinterpret_cast<char*>(round_up(address_of(buffer.data()), kSliceSize));
    block_pool_init(pool, nullptr, size_class_of(size), size, first_offset, span);
    first = pool.size;
  }
  bool valid(unsigned excess = 0) const { return block_pool_is_valid(pool, base, block_size, first, excess); }
  char* pop() { return reinterpret_cast<char*>(list_pop(*pool.list)); }
  void push(void* block) {
    list_push(*pool.list, static_cast<Block*>(block));
    pool.list->count--;
  }
  unsigned listed() const {
    unsigned count = 0;
    for (Block* each = pool.list->head; each != nullptr; each = each->next) count++;
    return count;
  }

  std::vector<char> buffer;
  char* base = nullptr;
  BlockPool pool{};
  size_t block_size = 0, span = 0;
  unsigned first = 0;
};

TEST_F(BlockPoolTest, StartsEmptyValidAndPartial) {
  init(48);
  EXPECT_TRUE(valid());
  EXPECT_EQ(pool.state, SliceState::partial);
  EXPECT_EQ(pool.size, 0u);
  EXPECT_EQ(pool.list->head, nullptr);
  EXPECT_EQ(block_pool_live(pool, first), 0);
}

TEST_F(BlockPoolTest, CapacityIsWhatFitsForEveryClass) {
  for (unsigned c = 0; c < kClassCount; c++) {
    init(class_size(c));
    EXPECT_EQ(pool.capacity, span / block_size);
    EXPECT_LE(pool.capacity * block_size, span);
    EXPECT_GT((pool.capacity + 1u) * block_size, span);
  }
}

TEST_F(BlockPoolTest, TheFirstBlockStandsBehindTheHeader) {
  for (unsigned c = 0; class_size(c) <= kNarrowBlockMax; c++) {
    init(class_size(c), kHeader);
    EXPECT_GE(first * block_size, kHeader);
    EXPECT_LT(first * block_size, kHeader + block_size) << "a block is lost";
    block_pool_bump(pool, base, block_size, 1);
    EXPECT_EQ(pop(), base + first * block_size);
    EXPECT_TRUE(valid());
  }
}

TEST_F(BlockPoolTest, BumpGivesTheNextBlocksInAddressOrder) {
  init(112);
  char* expected = base;
  for (size_t bytes : {size_t{1}, size_t{112}, size_t{223}, size_t{224}, size_t{4096}}) {
    size_t count = bytes > 112 ? bytes / 112 : 1;
    block_pool_bump(pool, base, block_size, bytes);
    ASSERT_TRUE(valid());
    ASSERT_EQ(listed(), count);
    for (; count > 0; count--, expected += 112) ASSERT_EQ(pop(), expected);
    ASSERT_EQ(pool.list->head, nullptr);
  }
}

TEST_F(BlockPoolTest, BumpTouchesNothingBeyondWhatItHandsOut) {
  init(64);
  block_pool_bump(pool, base, block_size, 640);
  EXPECT_TRUE(test::bytes_all(base + 640, span - 640, 0));
}

TEST_F(BlockPoolTest, BumpStopsAtTheCapacity) {
  for (unsigned c = 0; c < kClassCount; c++) {
    init(class_size(c));
    std::set<char*> seen;
    while (pool.size < pool.capacity) {
      block_pool_bump(pool, base, block_size, 20000);
      while (pool.list->head != nullptr) ASSERT_TRUE(seen.insert(pop()).second);
      ASSERT_TRUE(valid());
    }
    EXPECT_EQ(seen.size(), pool.capacity);
    EXPECT_EQ(*seen.begin(), base);
    EXPECT_EQ(*seen.rbegin(), base + (pool.capacity - 1) * block_size);
    EXPECT_EQ(block_pool_live(pool, first), pool.capacity);
  }
}

TEST_F(BlockPoolTest, RecyclesLastFreedFirst) {
  init(32);
  block_pool_bump(pool, base, block_size, 320);
  char* a = pop();
  char* b = pop();
  push(a);
  push(b);
  EXPECT_TRUE(valid());
  EXPECT_EQ(pop(), b);
  EXPECT_EQ(pop(), a);
  EXPECT_EQ(pop(), base + 64);
}

TEST_F(BlockPoolTest, CountsLiveBlocksThroughRandomUse) {
  init(80, kHeader);
  test::Random random(2);
  std::vector<char*> live;
  for (int i = 0; i < 20000; i++) {
    if (live.empty() || (random.below(2) == 0 && live.size() < size_t(pool.capacity - first))) {
      if (pool.list->head == nullptr) block_pool_bump(pool, base, block_size, 400);
      live.push_back(pop());
    } else {
      size_t index = random.below(live.size());
      push(live[index]);
      live[index] = live.back();
      live.pop_back();
    }
    ASSERT_EQ(block_pool_live(pool, first), int64_t(live.size()));
    if (i % 100 == 0) {
      ASSERT_TRUE(valid());
    }
  }
}

TEST_F(BlockPoolTest, WakesAfterAnEighthButAtLeastOne) {
  EXPECT_EQ(block_pool_wake_count(7), 1);
  EXPECT_EQ(block_pool_wake_count(15), 1);
  EXPECT_EQ(block_pool_wake_count(16), 2);
  EXPECT_EQ(block_pool_wake_count(4096), 512);
}

TEST_F(BlockPoolTest, LiveBlocksOfAParkedPoolFollowItsCountDown) {
  init(1024);
  while (pool.size < pool.capacity) {
    block_pool_bump(pool, base, block_size, 4096);
    while (pool.list->head != nullptr) pop();
  }
  pool.state = SliceState::parked;
  pool.parked_list.count = block_pool_wake_count(pool.capacity);
  EXPECT_EQ(block_pool_live(pool, first), 64);
  push(base);
  EXPECT_EQ(block_pool_live(pool, first), 63);
  EXPECT_TRUE(valid());
}

class Corruption : public BlockPoolTest {
 protected:
  void SetUp() override {
    init(64);
    block_pool_bump(pool, base, block_size, 640);
    for (int i = 0; i < 5; i++) pop();
    push(base);
    ASSERT_TRUE(valid());
  }
};

TEST_F(Corruption, ALiveCountTooSmallIsFound) {
  pool.list->count--;
  EXPECT_FALSE(valid());
  EXPECT_FALSE(valid(1));
}
TEST_F(Corruption, ALiveCountTooLargeIsFoundUnlessInherited) {
  pool.list->count++;
  EXPECT_FALSE(valid());
  EXPECT_TRUE(valid(1));
  pool.list->count++;
  EXPECT_FALSE(valid(1));
}
TEST_F(Corruption, ABlockFreedTwiceIsFound) {
  push(base);
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, APointerIntoABlockIsFound) {
  push(base + 64 + 16);
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, ABlockNeverHandedOutIsFound) {
  push(base + 64 * 20);
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, ABlockOfAnotherPoolIsFound) {
  char elsewhere[64];
  push(elsewhere);
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, ACycleIsFound) {
  pool.list->head->next->next = pool.list->head;
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, ASizeAboveTheCapacityIsFound) {
  pool.size = uint16_t(pool.capacity + 1);
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, ASizeBelowTheFirstBlockIsFound) {
  first = pool.size + 1u;
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, AForeignListIsFound) {
  FreeList other = *pool.list;
  pool.list = &other;
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, AWrongReciprocalIsFound) {
  pool.reciprocal++;
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, ParkedWithBlocksToBumpIsFound) {
  pool.state = SliceState::parked;
  pool.parked_list.count = block_pool_wake_count(pool.capacity) - (pool.capacity - 4);
  EXPECT_EQ(block_pool_live(pool, first), 4);
  EXPECT_FALSE(valid());
}

TEST_F(BlockPoolTest, RetreatsBehindTheLastLiveBlock) {
  for (size_t size : {16, 48, 1024, 8192, 40960}) {
    for (size_t header : {size_t{0}, kHeader}) {
      if (header != 0 && size > kNarrowBlockMax) continue;
      init(size, header);
      std::vector<char*> blocks;
      while (pool.size < pool.capacity) {
        block_pool_bump(pool, base, block_size, 4096);
        while (pool.list->head != nullptr) blocks.push_back(pop());
      }
      ASSERT_GE(blocks.size(), 6u);
      // Live: the second one, and two before the last.
      for (size_t i = blocks.size(); i-- > 0;) {
        if (i != 1 && i != blocks.size() - 3) push(blocks[i]);
      }
      block_pool_retreat(pool, base, block_size, first);
      EXPECT_TRUE(valid());
      EXPECT_EQ(pool.size, pool.capacity - 2u);
      EXPECT_EQ(block_pool_live(pool, first), 2);
      EXPECT_EQ(pool.list->head, reinterpret_cast<Block*>(blocks[0]));
      EXPECT_EQ(pool.list->head->next, reinterpret_cast<Block*>(blocks[2])) << "in address order";
      EXPECT_EQ(listed(), blocks.size() - 4);
      push(blocks[1]);
      push(blocks[blocks.size() - 3]);
      block_pool_retreat(pool, base, block_size, first);
      EXPECT_TRUE(valid());
      EXPECT_EQ(pool.size, first);
      EXPECT_EQ(pool.list->head, nullptr);
    }
  }
}

}  // namespace
}  // namespace poolalloc
