// The shadow account: what the soak program holds, kept by itself, to the byte.
//
// Always holds: whoever allocates or frees notes it in his own account, by the size that the allocator says may be
// used, so a block that one thread allocates and another one frees counts 1 here and -1 there. The sum over all
// accounts is what the program holds; it is right while no other thread allocates or frees. Every block carries a
// pattern that is checked before it is freed or changes its size. Who may use it: the soak program.
#pragma once

#include <pthread.h>

#include <atomic>

#include "../blocks.h"

// Blocks of up to so many bytes are counted by size, in steps of so many.
constexpr size_t kSizeStep = 16;
constexpr size_t kCountedMost = 65536;
constexpr size_t kSizeCount = kCountedMost / kSizeStep + 1;

struct Tally {
  int64_t bytes, blocks;
  void add(size_t size, int64_t count) {
    bytes += count * int64_t(size);
    blocks += count;
  }
};

struct Account {
  Tally all;
  Tally large;  // those above kCountedMost
  int32_t of[kSizeCount];
  uint64_t operations;
  uint64_t refusals;
  uint64_t stamps;

  void add(size_t size, int count) {
    all.add(size, count);
    if (size > kCountedMost) {
      large.add(size, count);
    } else {
      of[size / kSizeStep] += count;
    }
  }
};

// A place for a thread: its stack and its account, which the next thread in that place goes on with.
struct Place {
  Account account;
  char* stack;
  bool is_taken;
};
constexpr unsigned kPlaces = 32;
// That of the main thread, and of a thread in a forked child.
constexpr unsigned kMainPlace = 0, kChildPlace = 1;
constexpr size_t kStackSize = 128 << 10;

extern Place* places;
extern thread_local Account* self;

// While it is true an allocation may fail with ENOMEM, else that is a violation.
extern std::atomic<bool> may_refuse;

// Sets up the places; the calling thread is the main one.
void accounts_start();
// The sum, until the next call. No other thread allocates.
const Account* accounts_sum();

// A thread in a place of its own, with own memory as its stack. `place`: kPlaces for any that is free. False: the
// allocator refuses, as it may.
struct Thread {
  pthread_t id;
  unsigned place;
};
bool thread_start(Thread* thread, void* (*run)(void*), void* argument, unsigned place = kPlaces);
void thread_join(const Thread& thread);
// What a thread does first: `self` is its account.
void thread_enter(unsigned place);
// The calling thread's block that a destructor of thread-specific data frees, after most of the thread has ended.
void free_at_thread_end(const Held& held);

// --- Blocks. A refused one is {nullptr, 0, 0}, which all of these take and leave alone. ----------------------

// By a function of the malloc family that `random` chooses.
Held block_take(size_t size, Random& random);
// One that another function has allocated.
Held block_adopt(void* p, size_t asked, size_t alignment);
// By realloc.
void block_resize(Held& held, size_t size);
void block_check(const Held& held);
void block_drop(Held& held);
// Out of the account: the block goes with its heap.
void block_forget(Held& held);
