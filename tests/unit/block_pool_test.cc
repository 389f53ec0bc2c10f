// Laws of the pool of equal blocks (pool/block_pool.h), on a chunk of the test's own.
//
// Always holds: no heap is involved; the pool stays on its parked list, as in state partial.
#include "pool/block_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "chunk/chunk.h"
#include "heap/size_class.h"
#include "test_util.h"

namespace poolalloc {
namespace {

constexpr size_t kHeader = kChunkHeaderSize;
constexpr size_t kPage = 4096;

// A chunk, whose second slice and those behind it are the pool.
struct alignas(kChunkSize) TestChunk {
  Chunk header;
  char bytes[kChunkSize - sizeof(Chunk)];
};
TestChunk test_chunk;

class BlockPoolTest : public testing::Test {
 protected:
  BlockPoolTest() {
    const uint64_t random[2] = {1, 2};
    if (link_secret == 0) link_secret_make(random);
  }
  // A pool of whole slices, but for `header` bytes at the end.
  void init(size_t size, size_t header = 0) {
    block_size = size;
    span = (size <= kNarrowBlockMax ? 1 : kWidePoolSlices) * kSliceSize - header;
    base = reinterpret_cast<char*>(&test_chunk) + kSliceSize;
    std::fill(base, base + span, char{0});
    block_pool_init(pool, nullptr, size_class_of(size), size, span);
    std::fill(std::begin(holes), std::end(holes), HoleSet{0});
  }
  bool valid(unsigned excess = 0) const { return block_pool_is_valid(pool, base, block_size, holes, excess); }
  // The offsets of the pages that are given back, whose contents are lost.
  std::set<size_t> shed(size_t page = kPage) {
    std::set<size_t> pages;
    EXPECT_TRUE(block_pool_shed(pool, base, block_size, span, page, holes, [&](size_t from, size_t end) {
      for (size_t each = from; each < end; each += page) EXPECT_TRUE(pages.insert(each).second) << "twice";
      if (from < end) memset(base + from, 0xcc, end - from);
    }));
    return pages;
  }
  // A block from wherever there is one: list, holes, what was never handed out.
  char* take() {
    if (list_is_empty(*pool.list) && !block_pool_fill(pool, base, block_size, holes)) {
      if (pool.size == pool.capacity) return nullptr;
      block_pool_bump(pool, base, block_size, 4096);
    }
    return pop();
  }
  char* pop() { return reinterpret_cast<char*>(list_pop(*pool.list, kReach)); }
  void push(void* block) {
    list_push(*pool.list, static_cast<Block*>(block));
    pool.list->count--;
  }
  unsigned listed() const {
    unsigned count = 0;
    EXPECT_TRUE(list_each(pool, base, pool.list->head, [&](Block*) { count++; }));
    return count;
  }

  char* base = nullptr;
  BlockPool& pool = test_chunk.header.slices[1];
  HoleSet holes[kWidePoolSlices] = {};
  size_t block_size = 0, span = 0;
};

TEST_F(BlockPoolTest, StartsEmptyValidAndPartial) {
  init(48);
  EXPECT_TRUE(valid());
  EXPECT_EQ(pool.state, SliceState::partial);
  EXPECT_EQ(pool.size, 0u);
  EXPECT_TRUE(list_is_empty(*pool.list));
  EXPECT_EQ(block_pool_live(pool), 0);
}

TEST_F(BlockPoolTest, CapacityIsWhatFitsForEveryClass) {
  for (unsigned c = 0; c < kClassCount; c++) {
    init(class_size(c));
    EXPECT_EQ(pool.capacity, span / block_size);
    EXPECT_LE(pool.capacity * block_size, span);
    EXPECT_GT((pool.capacity + 1u) * block_size, span);
  }
}

TEST_F(BlockPoolTest, NoBlockReachesIntoTheHeader) {
  for (unsigned c = 0; class_size(c) <= kNarrowBlockMax; c++) {
    init(class_size(c), kHeader);
    std::fill(base + span, base + kSliceSize, char{7});
    size_t count = 0;
    for (char* block; (block = take()) != nullptr; count++) test::pattern_fill(block, block_size, count);
    EXPECT_TRUE(test::bytes_all(base + span, kHeader, 7));
    EXPECT_EQ(count, span / block_size);
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
    ASSERT_TRUE(list_is_empty(*pool.list));
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
      while (!list_is_empty(*pool.list)) ASSERT_TRUE(seen.insert(pop()).second);
      ASSERT_TRUE(valid());
    }
    EXPECT_EQ(seen.size(), pool.capacity);
    EXPECT_EQ(*seen.begin(), base);
    EXPECT_EQ(*seen.rbegin(), base + (pool.capacity - 1) * block_size);
    EXPECT_EQ(block_pool_live(pool), pool.capacity);
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
    if (live.empty() || (random.below(2) == 0 && live.size() < pool.capacity)) {
      if (list_is_empty(*pool.list)) block_pool_bump(pool, base, block_size, 400);
      live.push_back(pop());
    } else {
      size_t index = random.below(live.size());
      push(live[index]);
      live[index] = live.back();
      live.pop_back();
    }
    ASSERT_EQ(block_pool_live(pool), int64_t(live.size()));
    if (i % 100 == 0) {
      ASSERT_TRUE(valid());
    }
  }
}

TEST_F(BlockPoolTest, WakesAfterAnEighthButAtLeastOne) {
  EXPECT_EQ(block_pool_wake_count(7), 1);
  EXPECT_EQ(block_pool_wake_count(8), kHardened ? 1 : 2);
  EXPECT_EQ(block_pool_wake_count(15), kHardened ? 1 : 2);
  EXPECT_EQ(block_pool_wake_count(16), 2);
  EXPECT_EQ(block_pool_wake_count(4096), 512);
}

TEST_F(BlockPoolTest, LiveBlocksOfAParkedPoolFollowItsCountDown) {
  init(1024);
  while (pool.size < pool.capacity) {
    block_pool_bump(pool, base, block_size, 4096);
    while (!list_is_empty(*pool.list)) pop();
  }
  pool.state = SliceState::parked;
  pool.parked_list.count = block_pool_wake_count(pool.capacity);
  EXPECT_EQ(block_pool_live(pool), 64);
  push(base);
  EXPECT_EQ(block_pool_live(pool), 63);
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
  Block* second = block_after(pool.list->head, link_step(pool.list->head));
  second->link = link_to(second, pool.list->head);
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, ASizeAboveTheCapacityIsFound) {
  pool.size = uint16_t(pool.capacity + 1);
  EXPECT_FALSE(valid());
}
TEST_F(Corruption, AListThatLeadsOutOfThePoolIsFound) {
  for (ptrdiff_t way : {-64, 8, 64 * 100, 1 << 16, 1 << 22, 1 << 30}) {
    Block* head = pool.list->head;
    uintptr_t before = head->link;
    head->link = link_to(head, byte_offset<Block>(head, size_t(way)));
    EXPECT_FALSE(valid()) << way;
    head->link = before;
    ASSERT_TRUE(valid());
  }
}
TEST_F(Corruption, AnythingWrittenOverALinkIsFoundAtOnceOrOneBlockLater) {
  Block* head = pool.list->head;
  const uintptr_t before = head->link;
  for (unsigned byte = 0; byte < 8; byte++) {
    for (unsigned change : {0x01, 0x41, 0x80, 0xff}) {
      const FreeList list = *pool.list;
      head->link = before ^ uint64_t { change } << (8 * byte);
      EXPECT_FALSE(valid());
      char* popped = pop();
      EXPECT_TRUE(popped == nullptr || pop() == nullptr || byte == 0) << byte;
      *pool.list = list;
      head->link = before;
    }
  }
}
TEST_F(Corruption, AListThatIsGivenUpCountsAsLive) {
  pool.list->head->link = 0x4141414141414141;
  EXPECT_FALSE(valid());
  block_pool_give_up(pool, 0);
  EXPECT_TRUE(valid());
  EXPECT_TRUE(list_is_empty(*pool.list));
  EXPECT_EQ(block_pool_live(pool), 10);
}
TEST_F(Corruption, NothingIsShedOfABrokenList) {
  pool.list->head->link ^= uintptr_t{1} << 40;
  EXPECT_FALSE(block_pool_shed(pool, base, block_size, span, kPage, holes, [](size_t, size_t) { FAIL(); }));
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
  EXPECT_EQ(block_pool_live(pool), 4);
  EXPECT_FALSE(valid());
}

TEST_F(BlockPoolTest, ShedsEveryPageWithoutALiveBlockAndNoOther) {
  for (unsigned c = 0; c < kClassCount; c++) {
    for (size_t header : {size_t{0}, kHeader}) {
      for (size_t page : {kPage, 4 * kPage}) {
        if (header != 0 && class_size(c) > kNarrowBlockMax) continue;
        init(class_size(c), header);
        std::vector<char*> blocks;
        while (char* block = take()) blocks.push_back(block);
        ASSERT_GE(blocks.size(), 6u);
        // Live: the second one, and two before the last.
        const std::set<size_t> live{1, blocks.size() - 3};
        std::set<size_t> pages;
        for (size_t each = 0; each + page <= span; each += page) pages.insert(each);
        for (size_t i : live) {
          size_t start = size_t(blocks[i] - base);
          for (size_t at = round_down(start, page); at < start + block_size; at += page) pages.erase(at);
        }
        for (size_t i = blocks.size(); i-- > 0;) {
          if (live.count(i) == 0) push(blocks[i]);
        }
        ASSERT_EQ(shed(page), pages) << "blocks of " << block_size;
        ASSERT_TRUE(valid());
        EXPECT_EQ(pool.size, pool.capacity - 2u) << "free blocks at the end count as never handed out";
        EXPECT_EQ(block_pool_live(pool), 2);
        std::set<char*> again;
        while (char* block = take()) {
          EXPECT_TRUE(again.insert(block).second);
          ASSERT_TRUE(valid());
        }
        EXPECT_EQ(again.size(), blocks.size() - 2);
        for (char* each : again) push(each);
        for (size_t i : live) push(blocks[i]);
        shed(page);
        EXPECT_TRUE(valid());
        EXPECT_EQ(pool.size, 0u);
        EXPECT_TRUE(list_is_empty(*pool.list));
        EXPECT_EQ(block_pool_hidden(pool, block_size, holes), 0u);
      }
    }
  }
}

TEST_F(BlockPoolTest, HolesLoseNoBlockWhateverTheOrder) {
  for (unsigned c = 0; c < kClassCount; c += 3) {
    test::Random random(c);
    init(class_size(c), c % 2 != 0 && class_size(c) <= kNarrowBlockMax ? kHeader : 0);
    std::map<char*, uint64_t> live;
    for (uint64_t step = 0; step < 4000; step++) {
      // Long phases of mostly taking, then of mostly giving back.
      bool takes = random.below(10) < (step / 400 % 2 == 0 ? 8u : 1u);
      if (char* block = takes ? take() : nullptr) {
        ASSERT_TRUE(live.emplace(block, step).second) << "handed out twice";
        test::pattern_fill(block, block_size, step);
      } else if (!live.empty()) {
        auto each = live.lower_bound(base + random.below(span));
        if (each == live.end()) each = live.begin();
        ASSERT_TRUE(test::pattern_holds(each->first, block_size, each->second));
        push(each->first);
        live.erase(each);
      }
      if (random.below(50) == 0) shed();
      if (step % 16 == 0) {
        ASSERT_TRUE(valid()) << "step " << step << ", blocks of " << block_size;
      }
    }
    shed();
    for (auto [block, seed] : live) ASSERT_TRUE(test::pattern_holds(block, block_size, seed));
    EXPECT_EQ(block_pool_live(pool), int64_t(live.size()));
  }
}

TEST_F(BlockPoolTest, AListThatIsGivenUpLeavesTheHolesAsTheyAre) {
  for (size_t size : {48, 500, 1024, 6000, 9000}) {
    init(class_size(size_class_of(size)));
    std::vector<char*> blocks;
    while (char* block = take()) blocks.push_back(block);
    for (size_t i = 0; i < blocks.size(); i++) {
      if (i > 0 && (i < blocks.size() / 2 || i % 3 == 0)) push(blocks[i]);
    }
    shed();
    const unsigned hidden = block_pool_hidden(pool, block_size, holes), untouched = pool.capacity - pool.size;
    ASSERT_GT(hidden, 0u) << size;
    ASSERT_GT(listed(), 0u) << size;
    pool.list->head->link ^= uintptr_t{1} << 45;
    EXPECT_FALSE(valid());
    block_pool_give_up(pool, hidden);
    EXPECT_TRUE(valid()) << size;
    unsigned found = 0;
    while (take() != nullptr) found++;
    EXPECT_EQ(found, hidden + untouched);
    EXPECT_TRUE(valid()) << size;
  }
}

TEST_F(Corruption, ListedBlockInAHoleIsFound) {
  holes[0] = 1;
  EXPECT_FALSE(valid());
}

}  // namespace
}  // namespace poolalloc
