// Laws of extents (chunk/extent.h) against a model that knows which bytes it holds.
//
// Always holds: each test gives back all that it claimed; extent.h's equations, and the accounts', hold whenever no
// other thread runs.
#include "chunk/extent.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "accounts.h"
#include "chunk/extent_map.h"
#include "chunk/huge_pages.h"
#include "chunk/purge.h"
#include "chunk/region.h"
#include "test_util.h"

namespace poolalloc {
namespace {

using test::expect_memory_valid;
using test::Random;

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;

bool are_valid() {
  SharedLockGuard guard(extents_lock);
  return extents_are_valid();
}

// Blocks by address, with a stamp in the first and last word of every few pages.
class Model {
 public:
  struct Held {
    size_t size;
    uint64_t stamp;
  };

  void add(void* block, size_t size) {
    ASSERT_NE(block, nullptr);
    char* start = static_cast<char*>(block);
    auto next = held_.lower_bound(start);
    if (next != held_.end()) {
      ASSERT_LE(start + size, next->first) << "blocks overlap";
    }
    if (next != held_.begin()) {
      auto before = std::prev(next);
      ASSERT_LE(before->first + before->second.size, start) << "blocks overlap";
    }
    held_[start] = Held{size, ++stamps_};
    each_word(start, size, [&](uint64_t* word) { *word = stamps_ ^ address_of(word) >> 3; });
  }
  // Whether the first `size` bytes are as they were written to at `was`.
  bool is_kept(char* start, size_t size, const Held& held, char* was) {
    bool kept = true;
    each_word(start, held.size, [&](uint64_t* word) {
      size_t offset = size_t(reinterpret_cast<char*>(word) - start);
      if (offset + 8 <= size) kept &= *word == (held.stamp ^ address_of(was + offset) >> 3);
    });
    return kept;
  }
  void check(char* start) { ASSERT_TRUE(is_kept(start, held_[start].size, held_[start], start)) << "bytes changed"; }
  char* any(Random& random) {
    auto at = held_.begin();
    std::advance(at, random.below(held_.size()));
    return at->first;
  }
  Held remove(char* start) {
    Held held = held_[start];
    held_.erase(start);
    return held;
  }
  size_t size() const { return held_.size(); }
  const std::map<char*, Held>& held() const { return held_; }

 private:
  template <typename Visit>
  static void each_word(char* start, size_t size, Visit visit) {
    size_t step = size > 16 * kMiB ? 64 * kKiB : 8 * kKiB;
    for (size_t at = 0; at + 8 <= size; at += step) visit(reinterpret_cast<uint64_t*>(start + at));
  }
  std::map<char*, Held> held_;
  uint64_t stamps_ = 0;
};

class ExtentTest : public testing::Test {
 protected:
  void SetUp() override { in_use_before = accounts.in_use.load_relaxed(); }
  void TearDown() override {
    EXPECT_EQ(accounts.in_use.load_relaxed(), in_use_before);
    expect_memory_valid();
  }
  int64_t in_use_before;
};

size_t random_size(Random& random) {
  switch (random.below(4)) {
    case 0:
      return 1 + random.below(70 * kKiB);
    case 1:
      return 64 * kKiB + random.below(64 * kKiB);
    case 2:
      return 64 * kKiB + random.below(kMiB);
    default:
      return 64 * kKiB + random.size_up_to(24 * kMiB);
  }
}

TEST_F(ExtentTest, BlocksAreClaimedResizedMovedAndReleasedLikeInTheModel) {
  for (uint64_t seed = 1; seed <= 4; seed++) {
    Random random(seed);
    Model model;
    for (int step = 0; step < 4000 && !HasFatalFailure(); step++) {
      uint64_t what = random.below(12);
      if (model.size() < 40 ? what < 6 : what < 2) {
        size_t size = random_size(random);
        size_t alignment = random.below(3) == 0 ? size_t{16} << random.below(20) : 16;
        size_t offset = random.below(2) == 0 ? os_page_size() * random.below(3) : 0;
        ExtentClaim claim{};
        if (random.below(5) == 0) {
          claim.block = extent_claim_growing(size, size / 2);
        } else {
          claim = extent_claim(size, alignment, random.below(2) == 0, offset);
          ASSERT_EQ((address_of(claim.block) + offset) % alignment, 0u);
        }
        if (claim.zeroed) {
          ASSERT_TRUE(test::bytes_all(claim.block, size, 0)) << "said to be zero";
        }
        ASSERT_GE(extent_block_size(claim.block), size);
        model.add(claim.block, extent_block_size(claim.block));
      } else if (model.size() != 0 && what < 9) {
        char* block = model.any(random);
        model.check(block);
        size_t old_size = extent_block_size(block), size = random_size(random);
        if (random.below(2) == 0) size = old_size + random.below(old_size);
        void* resized = extent_resize(block, size) ? block : extent_move(block, size);
        if (resized == nullptr) {
          ASSERT_EQ(extent_block_size(block), old_size) << "nothing has changed";
          model.check(block);
          continue;
        }
        Model::Held held = model.remove(block);
        size_t kept = held.size < size ? held.size : size;
        ASSERT_TRUE(model.is_kept(static_cast<char*>(resized), kept, held, block)) << old_size << " to " << size;
        model.add(resized, extent_block_size(resized));
      } else if (model.size() != 0) {
        char* block = model.any(random);
        model.check(block);
        model.remove(block);
        ASSERT_NE(extent_release(block), 0u);
        ASSERT_EQ(extent_block_size(block), 0u);
        ASSERT_EQ(extent_release(block), 0u) << "released twice";
      }
      ASSERT_TRUE(step % 8 != 0 || are_valid()) << "step " << step << " of seed " << seed;
      if (step % 300 == 0) purge_all();
      if (step % 700 == 0) extents_unmap();
    }
    for (const auto& [block, held] : model.held()) {
      model.check(block);
      extent_release(block);
    }
    expect_memory_valid();
  }
}

TEST_F(ExtentTest, NeighboursBecomeOneAndServeALargerBlock) {
  purge_all();
  extents_unmap();
  // One extent that serves them all: address space claimed piece by piece need not lie in a row.
  const size_t size = round_up(100 * kKiB, os_page_size());
  char* all = static_cast<char*>(extent_claim(16 * size, 16, false).block);
  memset(all, 1, 16 * size);
  extent_release(all);
  std::vector<char*> blocks;
  for (int i = 0; i < 16; i++) blocks.push_back(static_cast<char*>(extent_claim(size, 16, false).block));
  std::sort(blocks.begin(), blocks.end());
  for (char* block : blocks) memset(block, 1, size);
  // From both sides, and in the middle.
  for (size_t i : {3u, 5u, 4u, 2u, 6u}) extent_release(blocks[i]);
  size_t whole = size_t(blocks[7] - blocks[2]);
  ExtentClaim claim = extent_claim(whole, 16, false);
  EXPECT_EQ(claim.block, blocks[2]) << "dirty memory is used before clean";
  EXPECT_FALSE(claim.zeroed);
  extent_release(claim.block);
  for (size_t i = 0; i < blocks.size(); i++) {
    if (i < 2 || i > 6) extent_release(blocks[i]);
  }
}

TEST_F(ExtentTest, ABlockGrowsIntoWhatIsFreeBehindIt) {
  char* block = static_cast<char*>(extent_claim_growing(100 * kKiB, 60 * kKiB));
  for (size_t size = 100 * kKiB; size <= 190 * kKiB; size += 10 * kKiB) EXPECT_TRUE(extent_resize(block, size));
  extent_release(block);
}

TEST_F(ExtentTest, WhatABlockLeavesServesOthers) {
  const size_t less = round_up(300 * kKiB, os_page_size());
  char* block = static_cast<char*>(extent_claim(kMiB, 16, false).block);
  memset(block, 1, kMiB);
  EXPECT_TRUE(extent_resize(block, less));
  EXPECT_EQ(extent_block_size(block), less);
  ExtentClaim rest = extent_claim(700 * kKiB, 16, false);
  EXPECT_EQ(rest.block, block + less);
  extent_release(rest.block);
  extent_release(block);
}

TEST_F(ExtentTest, AMovedBlockLeavesNothingBehind) {
  purge_all();
  int64_t mapped = accounts.mapped.load_relaxed();
  size_t size = 5 * kMiB;
  char* block = static_cast<char*>(extent_claim(size, 16, false).block);
  char* fence = static_cast<char*>(extent_claim(size, 16, false).block);
  for (int i = 0; i < 12; i++) {
    memset(block, i, extent_block_size(block));
    size_t larger = size + size / 4;
    char* moved = extent_resize(block, larger) ? block : static_cast<char*>(extent_move(block, larger));
    ASSERT_NE(moved, nullptr);
    ASSERT_TRUE(test::bytes_all(moved, size, static_cast<unsigned char>(i)));
    block = moved;
    size = larger;
    EXPECT_TRUE(are_valid());
  }
  extent_release(block);
  extent_release(fence);
  extents_unmap();
  EXPECT_LE(accounts.mapped.load_relaxed(), mapped);
}

TEST_F(ExtentTest, PurgedMemoryIsZeroAndOldestFirst) {
  bool refused = false;
  purge_all();
  std::vector<char*> blocks;
  for (int i = 0; i < 6; i++) {
    blocks.push_back(static_cast<char*>(extent_claim(kMiB, 16, false).block));
    memset(blocks.back(), 1, kMiB);
  }
  for (size_t i : {1u, 3u, 5u}) extent_release(blocks[i]);
  EXPECT_EQ(extents_purge(1, &refused), kMiB);
  ExtentClaim claim = extent_claim(kMiB, 16, false);
  EXPECT_EQ(claim.block, blocks[5]) << "the one released last is still there";
  extent_release(claim.block);
  while (extents_purge(kMiB, &refused) != 0) {
  }
  claim = extent_claim(kMiB, 16, false);
  EXPECT_TRUE(claim.zeroed && test::bytes_all(claim.block, kMiB, 0));
  extent_release(claim.block);
  for (size_t i : {0u, 2u, 4u}) extent_release(blocks[i]);
}

TEST(ExtentBins, HaveABitForEachThatHasExtents) {
  Random random(11);
  static Extent extents[200];
  ExtentBins bins{};
  std::vector<Extent*> held;
  auto is_right = [&] {
    for (unsigned i = 0; i < ExtentBins::kCount; i++) {
      if (((bins.filled[i / 64] >> (i % 64) & 1) != 0) != (bins.first[i] != nullptr)) return false;
    }
    unsigned counted = 0;
    for (unsigned i = bins.from(0); i < ExtentBins::kCount; i = bins.from(i + 1)) {
      for (const Extent* each = bins.first[i]; each != nullptr; each = each->next) counted++;
    }
    return counted == held.size() && (bins.largest() == nullptr) == held.empty();
  };
  for (Extent& each : extents) {
    each.size = kExtentUnit + random.size_up_to(size_t{1} << (kAddressBits - 1));
    bins.add(&each);
    held.push_back(&each);
    ASSERT_TRUE(is_right());
  }
  while (!held.empty()) {
    std::swap(held[random.below(held.size())], held.back());
    bins.remove(held.back());
    held.pop_back();
    ASSERT_TRUE(is_right()) << held.size();
  }
}

TEST_F(ExtentTest, AnAddressIsInTheExtentAroundIt) {
  std::vector<void*> blocks;
  for (size_t size : {64 * kKiB + 1, 100 * kKiB, 3 * kMiB, 40 * kMiB}) {
    for (int i = 0; i < 3; i++) blocks.push_back(extent_claim(size, os_page_size(), false).block);
  }
  {
    SharedLockGuard guard(extents_lock);
    for (void* block : blocks) {
      const Extent* extent = extent_at(address_of(block));
      const uintptr_t start = address_of(block), end = extent_end(extent);
      for (uintptr_t inside : {start, start + 1, start + kExtentUnit, end - 1})
        EXPECT_EQ(extent_around(inside), extent);
      for (uintptr_t outside : {start - 1, end, end + 1}) {
        const Extent* other = extent_around(outside);
        EXPECT_TRUE(other == nullptr || outside - extent_start(other) < other->size);
        EXPECT_NE(other, extent);
      }
    }
  }
  for (void* block : blocks) extent_release(block);
}

TEST_F(ExtentTest, PointersThatAreNoBlocksAreNone) {
  char* block = static_cast<char*>(extent_claim(kMiB, 16, false).block);
  for (size_t offset : {size_t{1}, size_t{16}, size_t{4096}, 32 * kKiB, 64 * kKiB, kMiB}) {
    EXPECT_EQ(extent_release(block + offset), 0u);
    EXPECT_FALSE(extent_resize(block + offset, 100));
    EXPECT_EQ(extent_move(block + offset, 100 * kMiB), nullptr);
  }
  for (uintptr_t address : {uintptr_t{0}, uintptr_t{4096}, uintptr_t{1} << 46, ~uintptr_t{0}, ~uintptr_t{0xfff}}) {
    EXPECT_EQ(extent_release(pointer_to<void>(address)), 0u);
    EXPECT_EQ(extent_block_size(pointer_to<void>(address)), 0u);
  }
  EXPECT_NE(extent_release(block), 0u);
}

// Huge pages are asked for once blocks have been filled, and no more once they are not.
TEST_F(ExtentTest, BlocksThatAreFilledHaveHugePagesAndSparseOnesHaveNot) {
  purge_all();
  extents_unmap();
  std::vector<char*> blocks;
  auto claim = [&](bool fill) {
    char* block = static_cast<char*>(extent_claim(4 * kMiB, 16, false).block);
    if (fill) memset(block, 1, 4 * kMiB);
    blocks.push_back(block);
    SharedLockGuard guard(extents_lock);
    return extent_at(address_of(block))->is_huge;
  };
  int huge = 0;
  for (int i = 0; i < 12; i++) huge += claim(true);
  EXPECT_GE(huge, 6);
  huge = 0;
  for (int i = 0; i < 12; i++) huge += claim(false);
  EXPECT_LE(huge, 3);
  for (char* block : blocks) extent_release(block);
}

TEST_F(ExtentTest, NoByteHasTwoOwnersAmongThreads) {
  std::atomic<int> violations{0};
  test::in_threads(4, [&](unsigned thread) {
    Random random(200 + thread);
    std::vector<std::pair<char*, size_t>> held;
    auto ends = [&](char* block, size_t size) {
      return std::pair{reinterpret_cast<std::atomic<uint64_t>*>(block),
                       reinterpret_cast<std::atomic<uint64_t>*>(block + size - 8)};
    };
    auto take = [&](char* block, size_t size) {
      auto [first, last] = ends(block, size);
      first->store(thread + 1);
      last->store(thread + 1);
      held.emplace_back(block, size);
    };
    for (int step = 0; step < 6000; step++) {
      if (held.size() < 20 && random.below(2) == 0) {
        size_t size = random_size(random);
        char* block = static_cast<char*>(extent_claim(size, 16, false).block);
        take(block, extent_block_size(block));
      } else if (!held.empty()) {
        size_t index = random.below(held.size());
        auto [block, size] = held[index];
        held[index] = held.back();
        held.pop_back();
        auto [first, last] = ends(block, size);
        violations += first->load() != thread + 1 || last->load() != thread + 1;
        if (random.below(3) == 0) {
          size_t wanted = size + random.below(size);
          char* moved = extent_resize(block, wanted) ? block : static_cast<char*>(extent_move(block, wanted));
          if (moved != nullptr) take(moved, extent_block_size(moved));
          if (moved != nullptr) continue;
        }
        violations += extent_release(block) == 0;
      }
      if (step % 500 == 0) purge_all();
      if (step % 50 == 0) purge_excess(0);
      if (step % 1500 == 0) extents_unmap();
    }
    for (auto [block, size] : held) violations += extent_release(block) == 0;
  });
  EXPECT_EQ(violations.load(), 0);
}

struct Slot {
  std::atomic<void*> block;  // nullptr: it is being changed, or there is none
  size_t size;
};

// What the child of a fork finds that a thread under way with extents has not waited for.
int salvage(const Slot* slots, unsigned slot_count) {
  alarm(20);
  extents_lock.word.store_relaxed(0);  // whoever held it has vanished
  {
    SharedLockGuard guard(extents_lock);
    extents_salvage();
    accounts_rebuild();
  }
  if (!are_valid()) return 1;
  Random random(7);
  for (unsigned i = 0; i < slot_count; i++) {
    void* block = slots[i].block.load();
    if (block == nullptr) continue;
    size_t size = slots[i].size;
    if (extent_block_size(block) != size) return 2;
    bool is_resized = extent_resize(block, size / 2) && extent_resize(block, size);
    if (!is_resized && extent_block_size(block) == 0) return 3;
    if (extent_release(block) == 0) return 4;
    if (extent_claim(random_size(random), 16, i % 2 == 0).block == nullptr) return 5;
    if (!are_valid()) return 6;
  }
  purge_all();
  extents_unmap();
  return are_valid() ? 0 : 7;
}

TEST_F(ExtentTest, WhereAThreadVanishesUnderWayEveryBlockStaysOne) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "the sanitizer knows nothing of such a fork";
  constexpr unsigned kSlots = 40;
  constexpr int kUnderWay = 64;  // in a child's status: the lock was taken
  Slot slots[kSlots]{};
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    Random random(5);
    auto publish = [](Slot& slot, void* block) {
      slot.size = extent_block_size(block);
      slot.block = block;
    };
    while (!stop.load()) {
      Slot& slot = slots[random.below(kSlots)];
      void* block = slot.block.exchange(nullptr);
      if (block == nullptr) {
        publish(slot, extent_claim(random_size(random) % kMiB + 1, 16, false).block);
      } else if (random.below(3) != 0) {
        size_t size = extent_block_size(block);
        extent_resize(block, random.below(2) == 0 ? size * 2 : size / 2 + 1);
        publish(slot, block);
      } else {
        extent_release(block);
      }
    }
    for (Slot& slot : slots) {
      if (slot.block.load() != nullptr) extent_release(slot.block.load());
    }
  });
  int under_way = 0, law = 0;
  for (int i = 0; law == 0 && under_way < 20 && i < 20000; i++) {
    pid_t child = pid_t(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));  // without the library's handlers
    if (child == 0) _exit(int{extents_lock.word.load_relaxed() != 0} * kUnderWay + salvage(slots, kSlots));
    int status = -1;
    bool is_ended = waitpid(child, &status, 0) == child && WIFEXITED(status);
    law = is_ended ? WEXITSTATUS(status) % kUnderWay : -1;
    under_way += is_ended && WEXITSTATUS(status) >= kUnderWay;
  }
  stop = true;
  worker.join();
  EXPECT_EQ(law, 0) << "violated in a child, or it did not end by itself";
  EXPECT_EQ(under_way, 20);
}

}  // namespace
}  // namespace poolalloc
