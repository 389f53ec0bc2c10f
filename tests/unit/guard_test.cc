// Laws of guarded blocks (heap/guard.h).
//
// Always holds: the guard is asked directly, sampling is off; each test frees all that it allocated.
#include "heap/guard.h"

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include <map>
#include <set>

#include "api/malloc_api.h"
#include "heap/usage.h"
#include "inspect/census.h"
#include "inspect/visit.h"
#include "os/access_fault.h"
#include "os/os.h"
#include "test_util.h"

namespace poolalloc {
namespace {

constexpr unsigned kAlive = 8;
constexpr uint64_t kAtStart = uint64_t{1} << 63, kAtEnd = 0;

sigjmp_buf faulted;
unsigned program_signals;
void on_fault(int) {
  program_signals++;
  siglongjmp(faulted, 1);
}

class GuardTest : public testing::Test {
 protected:
  void SetUp() override {
    if (guard.size != 0) return;
    // Before the guard's own handler, which hands on to it.
    signal(SIGSEGV, on_fault);
    ASSERT_TRUE(guard_start(kAlive));
  }
  void TearDown() override { EXPECT_EQ(guard.alive.load_relaxed(), 0u); }
};

char* alloc(size_t size, uint64_t place = kAtEnd) { return static_cast<char*>(guard_alloc(size, place)); }
void release(void* p) { guard_free(p, Caller::free); }

bool faults(volatile char* p, bool writes = false) {
  unsigned before = program_signals;
  if (sigsetjmp(faulted, 1) == 0) {
    if (writes) {
      *p = 1;
    } else {
      (void)*p;
    }
    return false;
  }
  EXPECT_EQ(program_signals, before + 1);
  return true;
}

TEST_F(GuardTest, BlocksAreAlignedAndInaccessibleAround) {
  const size_t page = os_page_size();
  for (uint64_t place : {kAtStart, kAtEnd}) {
    for (size_t size : {size_t{0}, size_t{1}, size_t{10}, size_t{16}, size_t{100}, page - 1, page}) {
      char* p = alloc(size, place);
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(address_of(p) % kBlockAlignment, 0u);
      EXPECT_EQ(api_usable_size(p), size);
      memset(p, 1, size);
      size_t room = place == kAtEnd ? round_up(size != 0 ? size : 1, kBlockAlignment) : page;
      EXPECT_TRUE(faults(p + room));
      EXPECT_TRUE(faults(p + room - page - 1));
      release(p);
      EXPECT_TRUE(faults(p));
      EXPECT_TRUE(faults(p, true));
    }
  }
}

TEST_F(GuardTest, LargerRequestsAreRefused) { EXPECT_EQ(alloc(os_page_size() + 1), nullptr); }

TEST_F(GuardTest, MultiplesOfAnAlignmentAreAligned) {
  for (size_t alignment = 16; alignment <= os_page_size(); alignment *= 2) {
    for (size_t size = alignment; size <= os_page_size(); size += alignment) {
      for (uint64_t place : {kAtStart, kAtEnd}) {
        void* p = alloc(size, place);
        ASSERT_EQ(address_of(p) % alignment, 0u) << alignment << " " << size;
        release(p);
      }
    }
  }
}

TEST_F(GuardTest, NoMoreAreAliveThanMayBe) {
  void* blocks[kAlive];
  for (void*& p : blocks) ASSERT_NE(p = alloc(1), nullptr);
  EXPECT_EQ(alloc(1), nullptr);
  release(blocks[3]);
  EXPECT_NE(blocks[3] = alloc(1), nullptr);
  for (void* p : blocks) release(p);
}

TEST_F(GuardTest, SlotsAreReusedInTurn) {
  void* first = alloc(16);
  release(first);
  std::set<uintptr_t> pages;
  for (unsigned i = 1; i < guard.slot_count; i++) {
    void* p = alloc(16);
    ASSERT_NE(p, first);
    EXPECT_TRUE(pages.insert(address_of(p)).second);
    release(p);
  }
  void* again = alloc(16);
  EXPECT_EQ(again, first);
  release(again);
}

TEST_F(GuardTest, ASlotsStatesFollowEachOther) {
  char* p = alloc(20);
  GuardView view = guard_look(address_of(p));
  EXPECT_EQ(view.state, GuardState::live);
  EXPECT_EQ(view.record.address, address_of(p));
  EXPECT_EQ(view.record.size, 20u);
  EXPECT_EQ(view.record.made.thread, os_thread_number());
  EXPECT_GT(view.record.made.stack.count, 0u);
  EXPECT_EQ(view.record.freed.thread, 0u);
  release(p);
  view = guard_look(address_of(p));
  EXPECT_EQ(view.state, GuardState::freed);
  EXPECT_EQ(view.record.freed.thread, os_thread_number());
  size_t size;
  EXPECT_FALSE(guard_has(p, &size));
}

TEST_F(GuardTest, BetweenTwoTheNearestBlockIsMeant) {
  const size_t page = os_page_size();
  char* left = alloc(16, kAtEnd);
  char* right = alloc(16, kAtStart);
  if (right - left == ptrdiff_t(page + 16)) {
    EXPECT_EQ(guard_look(address_of(left) + 16).record.address, address_of(left));
    EXPECT_EQ(guard_look(address_of(left) + 20).record.address, address_of(left));
    EXPECT_EQ(guard_look(address_of(right) - 1).record.address, address_of(right));
  }
  release(left);
  release(right);
}

TEST_F(GuardTest, MisuseIsCountedAndDoesNothing) {
  misuse_policy.store_relaxed(MisusePolicy::ignore);
  uint64_t before = misuse_count();
  char* p = alloc(40);
  p[40] = 1;  // behind its end
  release(p);
  release(p);       // twice
  release(p + 16);  // not its start
  EXPECT_EQ(misuse_count(), before + 3);
  EXPECT_EQ(api_realloc(p, 10), nullptr);
  EXPECT_EQ(misuse_count(), before + 4);
  misuse_policy.store_relaxed(MisusePolicy::abort);
}

TEST_F(GuardTest, AnAddressInsideABlockIsNoBlock) {
  misuse_policy.store_relaxed(MisusePolicy::ignore);
  foreign_policy.store_relaxed(ForeignPolicy::ignore);
  char* p = alloc(40);
  EXPECT_EQ(api_usable_size(p), 40u);
  for (int offset : {1, 3, 16, 39}) {
    EXPECT_EQ(api_usable_size(p + offset), 0u);
    EXPECT_EQ(api_realloc(p + offset, 100), nullptr);
    EXPECT_FALSE(api_expand(p + offset, 1));
  }
  release(p);
  misuse_policy.store_relaxed(MisusePolicy::abort);
  foreign_policy.store_relaxed(ForeignPolicy::warn);
}

TEST_F(GuardTest, ReallocKeepsBytes) {
  for (size_t size : {size_t{1}, size_t{50}, size_t{4000}, size_t{100'000}}) {
    char* p = alloc(50);
    test::pattern_fill(p, 50, 1);
    unsigned char byte = test::pattern_byte(p, 1);
    char* moved = static_cast<char*>(api_realloc(p, size));
    ASSERT_NE(moved, nullptr);
    EXPECT_TRUE(test::bytes_all(moved, size < 50 ? size : 50, byte));
    EXPECT_EQ(guard_look(address_of(p)).state, GuardState::freed);
    api_free(moved);
  }
  EXPECT_EQ(api_realloc(alloc(50), 0), nullptr);
}

TEST_F(GuardTest, FiguresAndVisitsCountGuardedBlocks) {
  const size_t sizes[] = {0, 1, 100, 1000, 4000};
  const Usage before = usage_gather();
  std::map<void*, size_t> blocks;
  size_t total = 0;
  for (size_t size : sizes) {
    blocks[alloc(size, size % 3 == 0 ? kAtStart : kAtEnd)] = size;
    total += size;
  }
  auto check = [&] {
    const Usage now = usage_gather();
    EXPECT_EQ(now.live_blocks - before.live_blocks, blocks.size());
    EXPECT_EQ(now.live_bytes - before.live_bytes, total);
    Census census;
    census_take(census);
    EXPECT_EQ(census.guarded_blocks, blocks.size());
    EXPECT_EQ(census.guarded_bytes, total);
    std::map<void*, size_t> seen;
    areas_visit(
        [](const Area& area, void* block, bool is_live, void* context) {
          if (block == nullptr || !guard_owns(block)) return false;
          EXPECT_TRUE(is_live && block >= area.start && area.block_count == 1);
          (*static_cast<std::map<void*, size_t>*>(context))[block] = area.block_size;
          return false;
        },
        &seen);
    EXPECT_EQ(seen, blocks);
  };
  check();
  while (!blocks.empty()) {
    total -= blocks.begin()->second;
    release(blocks.begin()->first);
    blocks.erase(blocks.begin());
    check();
  }
}

TEST_F(GuardTest, ThreadsTakeAndGiveBlocks) {
  constexpr unsigned kThreads = 4, kRounds = 20'000;
  std::atomic<char*> shared[16] = {};
  std::atomic<unsigned> served{0};
  test::in_threads(kThreads, [&](unsigned t) {
    test::Random random(t);
    for (unsigned i = 0; i < kRounds; i++) {
      size_t size = 8 + random.below(200);
      char* p = alloc(size, random.next());
      if (p != nullptr) {
        served++;
        memcpy(p, &size, sizeof size);
        memset(p + sizeof size, int(size), size - sizeof size);
      }
      char* old = shared[random.below(16)].exchange(p);
      if (old == nullptr) continue;
      size_t old_size, known;
      memcpy(&old_size, old, sizeof old_size);
      ASSERT_TRUE(guard_has(old, &known));
      ASSERT_EQ(known, old_size);
      ASSERT_TRUE(
          test::bytes_all(old + sizeof old_size, old_size - sizeof old_size, static_cast<unsigned char>(old_size)));
      release(old);
    }
  });
  for (auto& each : shared) {
    if (char* p = each) release(p);
  }
  EXPECT_GT(served, kRounds);
}

TEST_F(GuardTest, OfTwoThatFreeABlockOneIsTold) {
  misuse_policy.store_relaxed(MisusePolicy::ignore);
  uint64_t before = misuse_count();
  constexpr unsigned kRounds = 200;
  for (unsigned i = 0; i < kRounds; i++) {
    char* p = alloc(16);
    test::in_threads(2, [&](unsigned) { release(p); });
  }
  EXPECT_EQ(misuse_count(), before + kRounds);
  misuse_policy.store_relaxed(MisusePolicy::abort);
}

TEST_F(GuardTest, AForkedChildGoesOn) {
  char* p = alloc(16);
  p[3] = 7;
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) release(alloc(100));
  });
  for (int i = 0; i < 50; i++) {
    const int result = test::in_child([&] {
      bool is_right = p[3] == 7;
      release(p);
      // The slot that the other thread had taken is lost, and counts.
      for (int j = 0; j < 1000 && is_right; j++) {
        char* q = alloc(8);
        is_right = q != nullptr && faults(q + 16) && (q == p || faults(p));
        release(q);
      }
      return is_right ? 0 : 1;
    });
    ASSERT_EQ(result, 0);
  }
  EXPECT_EQ(p[3], 7);
  stop = true;
  other.join();
  release(p);
}

}  // namespace
}  // namespace poolalloc
