// Laws of the os layer (os/os.h) that no layer above would miss at once: what is mapped and what is left over, what a
// look at memory says, the clock, messages, and where other threads are.
//
// Always holds: each test unmaps what it has mapped.
#include "os/os.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "base/bits.h"
#include "os/lock.h"
#include "os/message.h"
#include "os/place.h"
#include "os/scan.h"
#include "test_util.h"

namespace poolalloc {
namespace {

// --- Memory -------------------------------------------------------------------------------------------------

// Bytes of anonymous memory that the process has mapped and may write to.
size_t mapped_size() {
  size_t size = 0;
  EXPECT_TRUE(os_mappings_visit(
      [](void* sum, const Mapping& mapping) {
        if (mapping.is_writable && *mapping.name == 0) *static_cast<size_t*>(sum) += mapping.end - mapping.start;
        return true;
      },
      &size));
  return size;
}

// Where the kernel cannot do what it is asked for, so that a piece must be cut out of a larger one.
TEST(Memory, AnAlignedMappingLeavesNothingBeside) {
  const size_t page = os_page_size();
  for (size_t alignment : {size_t{1} << 20, size_t{4} << 20, size_t{64} << 20}) {
    for (size_t size : {page, 3 * page, size_t{5} << 20}) {
      SCOPED_TRACE(testing::Message() << size << " aligned to " << alignment);
      void* before = os_map(page, page);
      // Below what was mapped last there is no room.
      const size_t wall_size = 2 * (size + alignment);
      void* wall = mmap(pointer_to<void>(address_of(before) - wall_size), wall_size, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      const size_t mapped = mapped_size();
      void* p = os_map(size, alignment);
      ASSERT_NE(p, nullptr);
      EXPECT_EQ(address_of(p) % alignment, 0u);
      EXPECT_EQ(mapped_size(), mapped + size);
      memset(p, 1, size);
      EXPECT_TRUE(os_unmap(p, size));
      EXPECT_EQ(mapped_size(), mapped);
      if (wall != MAP_FAILED) munmap(wall, wall_size);
      os_unmap(before, page);
    }
  }
}

TEST(Memory, ALookAtAWordSaysWhetherItCanBeReadAndIsZero) {
  const size_t page = os_page_size();
  char* p = static_cast<char*>(os_map(3 * page, page));
  p[page - 4] = 1;
  ASSERT_EQ(mprotect(p + page, page, PROT_NONE), 0);
  EXPECT_EQ(os_word_look(p), WordState::zero);
  EXPECT_EQ(os_word_look(p + page - 4), WordState::set);
  EXPECT_EQ(os_word_look(p + page), WordState::unreadable);
  EXPECT_EQ(os_word_look(p + 2 * page), WordState::zero);
  EXPECT_TRUE(os_unmap(p, 3 * page));
  EXPECT_EQ(os_word_look(p), WordState::unreadable);
  EXPECT_EQ(os_word_look(nullptr), WordState::unreadable);
}

TEST(Memory, WhatIsPurgedOrHiddenReadsAsZeroAndIsNoLongerThere) {
  const size_t page = os_page_size(), size = 8 * page;
  for (auto give_back : {+[](void*p, size_t n) { return os_purge(p, n); },
                         +[](void*p, size_t n) { return os_protect(p, n, false) && os_protect(p, n, true); },
                         +[](void*p, size_t n) { return os_hide(p, n) && os_protect(p, n, true); }}) {
    char* p = static_cast<char*>(os_map(size, page));
    memset(p, 1, size);
    ASSERT_TRUE(give_back(p + page, size - 2 * page));
    EXPECT_TRUE(test::bytes_all(p, page, 1));
    EXPECT_TRUE(test::bytes_all(p + page, size - 2 * page, 0));
    EXPECT_TRUE(test::bytes_all(p + size - page, page, 1));
    EXPECT_TRUE(os_unmap(p, size));
  }
}

// --- The clock ----------------------------------------------------------------------------------------------

int64_t clock_ms(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

TEST(Clock, IsTheSystemsWithinAFewMilliseconds) {
  constexpr int64_t kStep_ms = 20;  // of the kernel's coarse clock, at the most
  const struct {
    uint64_t (*ours)();
    clockid_t system;
  } clocks[] = {{os_clock_ms, CLOCK_MONOTONIC}, {os_wall_clock_ms, CLOCK_REALTIME}};
  for (const auto& clock : clocks) {
    for (int i = 0; i < 40; i++) {
      const int64_t before = clock_ms(clock.system), now = int64_t(clock.ours()), after = clock_ms(clock.system);
      ASSERT_GE(now, before - kStep_ms);
      ASSERT_LE(now, after);
      usleep(13'000);
    }
  }
}

// --- Messages -----------------------------------------------------------------------------------------------

std::string sent;

template <size_t kMost>
void expect_cut() {
  struct {
    LinesOf<kMost> lines;
    unsigned char behind[64];
  } memory;
  memset(memory.behind, 0xa5, sizeof memory.behind);
  std::string all = "poolalloc: ";
  for (int i = 0; i < 100; i++) {
    memory.lines.text("text ").number(uint64_t(i)).next();
    all += "text " + std::to_string(i) + "\npoolalloc: ";
  }
  sent.clear();
  memory.lines.send();
  EXPECT_TRUE(test::bytes_all(memory.behind, sizeof memory.behind, 0xa5)) << kMost;
  EXPECT_EQ(sent, all.substr(0, kMost - 1) + '\n');
}

TEST(Message, WhatDoesNotFitIsCutOffAndNothingElseIsWrittenTo) {
  message_sink.store_release([](const char* line, size_t length) { sent += std::string(line, length) + '\n'; });
  expect_cut<24>();
  expect_cut<64>();
  expect_cut<400>();
  message_sink.store_release(nullptr);
}

TEST(Message, BytesAreInTheLargestUnitThatFits) {
  message_sink.store_release([](const char* line, size_t length) { sent += std::string(line, length); });
  const std::pair<uint64_t, const char*> kAmounts[] = {{0, "0 B"},
                                                       {1023, "1023 B"},
                                                       {1024, "1.0 KiB"},
                                                       {1535, "1.4 KiB"},
                                                       {1536, "1.5 KiB"},
                                                       {1 << 20, "1.0 MiB"},
                                                       {(1 << 20) - 1, "1023.9 KiB"},
                                                       {uint64_t{5} << 40, "5.0 TiB"}};
  for (const auto& [amount, said] : kAmounts) {
    sent.clear();
    Message().bytes(amount).send();
    EXPECT_EQ(sent, std::string("poolalloc: ") + said);
  }
  message_sink.store_release(nullptr);
}

// --- Locks --------------------------------------------------------------------------------------------------

TEST(Locks, WhoBorrowsALockFromAForkHasIt) {
  for (LockRank rank : {LockRank::regions, LockRank::purge, LockRank::extents}) {
    Lock lock{{kLockFork}, rank};
    const int64_t before = clock_ms(CLOCK_MONOTONIC);
    {
      SharedLockGuard guard(lock);
      EXPECT_TRUE(lock_is_mine(lock));
      EXPECT_GE(clock_ms(CLOCK_MONOTONIC) - before, 150) << "not at once";
    }
    EXPECT_EQ(lock.word.load_relaxed(), 0u);
  }
}

// --- Threads ------------------------------------------------------------------------------------------------

TEST(Scan, OtherThreadsAreFoundWhereTheyAreInTheirStacks) {
  // A thread that waits in the kernel, and in whose stack.
  std::atomic<uintptr_t> inside{0};
  std::atomic<unsigned> number{0};
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::thread waits([&] {
    char byte;
    number = os_thread_number();
    EXPECT_EQ(long(number), syscall(SYS_gettid));
    EXPECT_NE(int(number), os_process_id());
    inside = address_of(&byte);
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
  });
  while (inside == 0) std::this_thread::yield();
  uintptr_t found = 0;
  for (int i = 0; i < 1000 && found == 0; i++) {
    usleep(1000);
    os_other_threads_visit([](void* to, uintptr_t stack) { *static_cast<uintptr_t*>(to) = stack; }, &found);
  }
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  waits.join();
  for (int end : ends) close(end);
  if (found == 0) GTEST_SKIP() << "the kernel does not show stack pointers";
  EXPECT_LT(found, inside);
  EXPECT_GT(found, inside - 4096);
}

}  // namespace
}  // namespace poolalloc
