// What the stress programs share: blocks filled with a pattern, random numbers, what is done about a violation.
//
// Always holds: a block's pattern depends on a stamp that no other block has, so that overlapping blocks show.
#pragma once

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

// One line on stderr that names the law, and the end with status 1.
[[noreturn]] inline void violated(const char* law, const void* p, size_t size) {
  dprintf(STDERR_FILENO, "stress: %s: block %p of %zu bytes, process %d\n", law, p, size, int(getpid()));
  _exit(1);
}

// Runs `body` in a child and waits for it.
template <typename Body>
void in_child(Body body) {
  pid_t child = fork();
  if (child == 0) {
    alarm(120);
    body();
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) violated("no child", nullptr, 0);
  if (WIFSIGNALED(status)) violated(strsignal(WTERMSIG(status)), nullptr, 0);
  if (WEXITSTATUS(status) != 0) _exit(1);  // it has said why
}

inline double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

// splitmix64.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }
};

// --- Blocks ---------------------------------------------------------------------------------------------

struct Held {
  char* p;
  size_t size;  // all that may be used
  uint64_t stamp;
};

inline uint64_t word_at(uint64_t stamp, size_t offset) { return (stamp + offset) * 0x9e3779b97f4a7c15u | 1; }

// The places of a block that carry its pattern: every word of a small one; of a large one both ends and
// two words in each 4 KiB.
template <typename Visit>
void each_word(const Held& held, Visit visit) {
  const size_t dense = held.size < 8192 ? held.size : 4096;
  size_t at = 0;
  for (; at + 8 <= dense; at += 8) visit(at);
  for (at = 4096; dense == 4096 && at + 8 <= held.size; at += 4096) {
    visit(at);
    if (at + 2056 <= held.size) visit(at + 2048);
  }
  if (dense == 4096) visit((held.size - 8) & ~size_t{7});
}

inline void fill(const Held& held) {
  each_word(held, [&](size_t at) {
    uint64_t word = word_at(held.stamp, at);
    memcpy(held.p + at, &word, 8);
  });
  for (size_t at = held.size & ~size_t{7}; at < held.size; at++) held.p[at] = char(held.stamp);
}

// Of the first `size` bytes.
inline void check(const Held& held, size_t size, const char* law) {
  each_word(held, [&](size_t at) {
    uint64_t word;
    if (at + 8 > size) return;
    memcpy(&word, held.p + at, 8);
    if (word != word_at(held.stamp, at)) violated(law, held.p + at, held.size);
  });
  for (size_t at = held.size & ~size_t{7}; at < held.size && at < size; at++) {
    if (held.p[at] != char(held.stamp)) violated(law, held.p + at, held.size);
  }
}

// A place through which blocks pass from thread to thread.
struct Slot {
  std::atomic<bool> taken;
  Held held;

  bool try_lock() { return !taken.exchange(true, std::memory_order_acquire); }
  void unlock() { taken.store(false, std::memory_order_release); }

  // Leaves `mine` here and gives what lay here, unless somebody is at it.
  void swap(Held& mine) {
    if (!try_lock()) return;
    Held other = held;
    held = mine;
    unlock();
    mine = other;
  }
};
