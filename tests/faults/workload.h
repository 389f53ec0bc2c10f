// What the library does while its system calls fail: a little of everything, and the laws that hold all the same.
//
// Always holds: a request is met, or refused with ENOMEM, and only where the armed fault may refuse; errno stays
// otherwise; a block keeps its pattern until it is freed, also in a realloc that is refused; calloc's blocks are zero.
// The program's own memory is static, or libc's. A violated law ends the process with status 1 after one line on
// stderr.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/glibc_api.h"
#include "api/malloc_api.h"
#include "api/options.h"
#include "api/stats.h"
#include "chunk/accounts.h"
#include "chunk/extent_space.h"
#include "chunk/purge.h"
#include "fault.h"

namespace faults {

using namespace poolalloc;

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;

[[noreturn]] inline void violated(const char* law) {
  dprintf(STDERR_FILENO, "faults: %s, in phase \"%s\"\n", law, counts->phase.load());
  _exit(1);
}
inline void expect(bool holds, const char* law) {
  if (!holds) violated(law);
}

// --- Blocks -------------------------------------------------------------------------------------------

struct Block {
  char* p;
  size_t size;
  uint64_t stamp;
};
inline std::atomic<uint64_t> next_stamp{1};
// Requests may be refused for another reason than a fault.
inline std::atomic<bool> is_limited{false};

// The words of a block that carry its pattern: all of a small one; of a large one both ends, and some between.
template <typename Visit>
void each_word(size_t size, Visit visit) {
  const size_t dense = size < 512 ? size : 64;
  for (size_t at = 0; at + 8 <= dense; at += 8) visit(at);
  if (size < 512) return;
  for (size_t step = size < 4 * kMiB ? 64 * kKiB : 512 * kKiB, at = step; at + 16 <= size; at += step) visit(at);
  visit((size - 8) & ~size_t{7});
}
inline uint64_t word_at(uint64_t stamp, size_t at) { return (stamp + at) * 0x9e3779b97f4a7c15u | 1; }

inline void fill(Block& block) {
  block.stamp = next_stamp.fetch_add(1) * 1000003;
  each_word(block.size, [&](size_t at) {
    uint64_t word = word_at(block.stamp, at);
    memcpy(block.p + at, &word, 8);
  });
}
// Of the first `size` bytes.
inline void check(const Block& block, size_t size) {
  each_word(block.size, [&](size_t at) {
    uint64_t word;
    if (at + 8 > size) return;
    memcpy(&word, block.p + at, 8);
    expect(word == word_at(block.stamp, at), "a block has lost its bytes");
  });
}

// The law of errno, around a request.
template <typename Request>
char* requested(Request request) {
  constexpr int kNone = 4711;
  errno = kNone;
  char* p = static_cast<char*>(request());
  if (p != nullptr) {
    expect(errno == kNone, "a request that was met has changed errno");
    return p;
  }
  expect(errno == ENOMEM, "a request was refused without ENOMEM");
  if (is_limited) return p;
  counts->refused.fetch_add(1);
  expect(counts->fired != 0, "a request was refused without a fault");
  expect(armed.kind->may_refuse, "a request was refused for a call that is not needed");
  expect(counts->is_armed, "a request was refused after the fault");
  return p;
}

inline Block taken(char* p, size_t size, size_t alignment) {
  if (p == nullptr) return Block{nullptr, 0, 0};
  expect(address_of(p) % alignment == 0, "a block is misaligned");
  expect(api_usable_size(p) >= size, "a block is too small");
  Block block{p, size, 0};
  fill(block);
  return block;
}
inline Block take(size_t size) {
  return taken(requested([=] { return api_malloc(size); }), size, 16);
}
inline Block take_aligned(size_t alignment, size_t size) {
  return taken(requested([=] { return api_memalign(alignment, size); }), size, alignment);
}
inline Block take_zeroed(size_t size) {
  char* p = requested([=] { return api_calloc(1, size); });
  if (p != nullptr) each_word(size, [&](size_t at) { expect(p[at] == 0 && p[at + 7] == 0, "calloc is not zero"); });
  return taken(p, size, 16);
}
inline void drop(Block& block) {
  if (block.p == nullptr) return;
  check(block, block.size);
  constexpr int kNone = 4712;
  errno = kNone;
  api_free(block.p);
  expect(errno == kNone, "free has changed errno");
  block = Block{nullptr, 0, 0};
}
// Whether it could; the block is as it was otherwise.
inline bool resize(Block& block, size_t size) {
  if (block.p == nullptr) return false;
  char* p = requested([&] { return api_realloc(block.p, size); });
  if (p == nullptr) {
    check(block, block.size);
    return false;
  }
  block.p = p;
  check(block, size < block.size ? size : block.size);
  block = taken(p, size, 16);
  return true;
}

// --- Phases of one thread -----------------------------------------------------------------------------

inline void phase(const char* name) { counts->phase = name; }

// Blocks of pools, until regions of whole chunks are mapped; half of them freed in between.
inline void small_blocks() {
  phase("small blocks");
  static Block blocks[450];
  constexpr size_t kSizes[] = {24, 200, 700, 3000, 9000, 33000, 65000, 65536, 100};
  unsigned count = 0;
  for (Block& each : blocks) each = take(kSizes[count++ % 9]);
  for (unsigned i = 0; i < count; i += 2) drop(blocks[i]);
  api_malloc_trim(0);
  for (unsigned i = 0; i < count; i += 4) blocks[i] = take(kSizes[i % 9]);
  for (Block& each : blocks) drop(each);
}

inline void large_blocks() {
  phase("large blocks");
  constexpr size_t kSizes[] = {64 * kKiB + 1, 100 * kKiB, 300 * kKiB, 1 * kMiB,
                               3 * kMiB,      5 * kMiB,   20 * kMiB,  64 * kMiB};
  Block blocks[16];
  for (unsigned i = 0; i < 16; i++) blocks[i] = take(kSizes[i % 8]);
  for (unsigned i = 0; i < 16; i += 2) drop(blocks[i]);
  for (unsigned i = 0; i < 16; i += 4) blocks[i] = take_zeroed(kSizes[(i + 1) % 8]);
  for (Block& each : blocks) drop(each);
}

inline void resized_blocks() {
  phase("resized blocks");
  constexpr size_t kSizes[] = {40,         700,       5000,      40000,     70000,     200 * kKiB, 700 * kKiB,
                               3 * kMiB,   5 * kMiB,  6 * kMiB,  12 * kMiB, 40 * kMiB, 33 * kMiB,  9 * kMiB,
                               300 * kKiB, 64 * kKiB, 30 * kKiB, 2000,      300,       20};
  Block blocks[3] = {take(10), take(100000), take(4 * kMiB)}, between[3 * 20];
  unsigned count = 0;
  for (size_t size : kSizes) {
    for (Block& each : blocks) {
      resize(each, size);
      // In the way of the next growth, now and then.
      between[count] = take(count % 3 == 0 ? size : 70000);
      count++;
    }
  }
  for (Block& each : between) drop(each);
  for (Block& each : blocks) drop(each);
}

inline void aligned_blocks() {
  phase("aligned blocks");
  Block blocks[24];
  unsigned count = 0;
  for (size_t alignment : {64 * size_t{1}, 4 * kKiB, 64 * kKiB, 256 * kKiB, 2 * kMiB, 8 * kMiB}) {
    for (size_t size : {100 * size_t{1}, 5000 * size_t{1}, 100 * kKiB, 3 * kMiB})
      blocks[count++] = take_aligned(alignment, size);
  }
  for (Block& each : blocks) drop(each);
}

// Zeroed blocks in memory that has been used.
inline void zeroed_blocks() {
  phase("zeroed blocks");
  for (size_t size : {100 * size_t{1}, 3000 * size_t{1}, 60000 * size_t{1}, 100 * kKiB, 1 * kMiB, 6 * kMiB}) {
    Block used[3], zeroed[3];
    for (Block& each : used) each = take(size);
    for (Block& each : used) drop(each);
    for (Block& each : zeroed) each = take_zeroed(size);
    for (Block& each : zeroed) drop(each);
  }
}

// Under a limit (POOLALLOC_LIMIT) that is reached.
inline void limited_blocks() {
  phase("limited blocks");
  is_limited = true;
  retention_policy.hard.store_relaxed(accounts.in_use.load_relaxed() + int64_t(8 * kMiB));
  Block blocks[60];
  unsigned count = 0;
  for (Block& each : blocks) each = take(count++ % 2 == 0 ? 60000 : 700 * kKiB);
  for (Block& each : blocks) drop(each);
  retention_policy.hard.store_relaxed(kUnlimited);
  is_limited = false;
}

// Files and messages, which nobody reads.
inline void files() {
  phase("files");
  int before = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY);
  dup2(nowhere, STDERR_FILENO);
  os_note_start(nullptr);
  os_keep_stderr();
  static char limit[] = "POOLALLOC_LIMIT=90%:95%", wrong[] = "POOLALLOC_STATS=wrong";
  char* environment[] = {limit, wrong, nullptr};
  options_read(environment);
  retention_policy.soft.store_relaxed(kUnlimited);
  retention_policy.hard.store_relaxed(kUnlimited);
  stats_print_summary();
  dup2(before, STDERR_FILENO);
  close(before);
  close(nowhere);
  os_keep_stderr();
}

// --- Phases of several threads ----------------------------------------------------------------------------

constexpr unsigned kThreads = 3, kPerThread = 80;
inline Block exchanged[kThreads][kPerThread];
inline pthread_barrier_t barrier;

inline size_t exchanged_size(unsigned i) {
  return i % 20 == 19 ? 200 * kKiB : i % 5 == 0 ? 20000 + i * 100 : 32 + i * 12;
}

// Stacks are static, so that libc maps nothing that would count.
template <unsigned count>
void in_threads(void* (*body)(void*), void (*meanwhile)()) {
  constexpr size_t kStackSize = 256 * kKiB;
  alignas(65536) static char stacks[count][kStackSize];
  pthread_t threads[count];
  for (uintptr_t i = 0; i < count; i++) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stacks[i], kStackSize);
    expect(pthread_create(&threads[i], &attributes, body, pointer_to<void>(i)) == 0, "no thread");
  }
  meanwhile();
  for (pthread_t each : threads) pthread_join(each, nullptr);
}

// Allocates, frees what the next thread has allocated, sleeps meanwhile, and leaves blocks behind.
inline void* exchange(void* argument) {
  unsigned mine = unsigned(address_of(argument)), other = (mine + 1) % kThreads;
  for (unsigned i = 0; i < kPerThread; i++) exchanged[mine][i] = take(exchanged_size(i));
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  for (unsigned i = 0; i < kPerThread; i += 2) drop(exchanged[other][i]);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  for (unsigned i = 0; i < kPerThread; i += 2) exchanged[mine][i] = take(exchanged_size(i) * 2);
  return nullptr;
}

inline void child_lives();

inline void fork_and_wait() {
  pid_t child = fork();
  if (child == 0) child_lives();
  int status = 0;
  expect(child > 0 && waitpid(child, &status, 0) == child, "no child");
  if (WIFSIGNALED(status)) violated("the child was killed");
  if (WEXITSTATUS(status) != 0) _exit(1);  // it has said why
}

inline void drop_exchanged() {
  for (auto& each : exchanged) {
    for (Block& block : each) drop(block);
  }
}

inline void* allocate_a_little(void*) {
  Block blocks[20];
  for (unsigned i = 0; i < 20; i++) blocks[i] = take(exchanged_size(i));
  for (Block& each : blocks) drop(each);
  return nullptr;
}

inline void child_lives() {
  phase("the child");
  drop_exchanged();
  in_threads<1>(allocate_a_little, [] {});
  Block block = take(3 * kMiB);
  resize(block, 9 * kMiB);
  drop(block);
  api_malloc_trim(0);
  _exit(0);
}

inline void threads() {
  phase("threads");
  pthread_barrier_init(&barrier, nullptr, kThreads + 1);
  in_threads<kThreads>(exchange, [] {
    pthread_barrier_wait(&barrier);
    phase("trim beside sleeping threads");
    api_malloc_trim(0);
    phase("fork beside sleeping threads");
    fork_and_wait();
    phase("frees of others' blocks");
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    phase("trim with messages");
    api_malloc_trim(0);
    pthread_barrier_wait(&barrier);
  });
  phase("threads after others");
  in_threads<1>(allocate_a_little, [] {});
  fork_and_wait();
  phase("frees of ended threads' blocks");
  drop_exchanged();
  api_malloc_trim(0);
}

// A lock that somebody waits for, asleep.
inline void contended_lock() {
  phase("a contended lock");
  pthread_barrier_init(&barrier, nullptr, 2);
  in_threads<2>(
      [](void* is_holder) -> void* {
        if (is_holder == nullptr) {
          pthread_barrier_wait(&barrier);
          Block block = take(200 * kKiB);
          drop(block);
          return nullptr;
        }
        SharedLockGuard guard(extents_lock);
        pthread_barrier_wait(&barrier);
        usleep(2000);
        return nullptr;
      },
      [] {});
}

// --- All of it -----------------------------------------------------------------------------------------------

inline void work_alone() {
  small_blocks();
  large_blocks();
  resized_blocks();
  aligned_blocks();
  zeroed_blocks();
  limited_blocks();
}

inline void work() {
  work_alone();
  files();
  threads();
  contended_lock();
  // Once more, with other threads known of, and with all that is free going back at once.
  retention_policy.ceiling.store_relaxed(0);
  resized_blocks();
  zeroed_blocks();
  small_blocks();
  large_blocks();
  retention_policy.ceiling.store_relaxed(kUnlimited);
}

}  // namespace faults
