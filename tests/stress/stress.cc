// Randomised stress of the malloc family by many threads: sizes from 0 to 64 MiB, alignments, blocks that
// one thread allocates and another frees, threads that come and go, children that go on with what they
// inherited.
//
//   stress [SECONDS [THREADS [SEED [LIVE_MIB]]]] [--fork]
//
// Always holds: it calls plain malloc, so that it judges whatever allocator is preloaded; built with
// STRESS_CORE it calls the library's own functions and the process keeps libc's malloc. Exits 0 after one line
// on stdout, or 1 after one line on stderr that names the law violated.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

#include "blocks.h"

// Heaps that the program makes, where the allocator has such.
#define POOLALLOC_NO_SHORT_NAMES
#include "poolalloc.h"
#pragma weak poolalloc_heap_new
#pragma weak poolalloc_heap_alloc
#pragma weak poolalloc_heap_push
#pragma weak poolalloc_heap_pop
#pragma weak poolalloc_heap_delete

#ifdef STRESS_CORE
#include "api/glibc_api.h"
#include "api/malloc_api.h"
#define CALL(name) poolalloc::api_##name
#else
#define CALL(name) ::name
#define usable_size malloc_usable_size
#endif

#if defined(__SANITIZE_THREAD__)
#define CHILD_MAY_START_THREADS 0  // the sanitizer does not allow it
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_MAY_START_THREADS 0
#endif
#endif
#ifndef CHILD_MAY_START_THREADS
#define CHILD_MAY_START_THREADS 1
#endif

namespace {

// --- Settings and counts ------------------------------------------------------------------------------------

constexpr size_t kSizeMax = size_t{64} << 20;
constexpr unsigned kShared = 2048;
constexpr unsigned kOwn = 256;

double seconds = 10;
unsigned lanes = 4;
uint64_t seed = 1;
size_t live_bound = size_t{512} << 20;
bool forks = false;

double deadline;
std::atomic<uint64_t> next_stamp{1};
std::atomic<size_t> live{0}, live_peak{0};
std::atomic<uint64_t> operations{0}, threads_started{0}, forks_done{0};

// --- Blocks ---------------------------------------------------------------------------------------------

void check_zero(const char* p, size_t size) {
  if (size != 0 && (p[0] != 0 || memcmp(p, p + 1, size - 1) != 0)) violated("calloc is not zero", p, size);
}

// `size`, for which there is room within the bound now, or a small size. Reserves a quarter more, which a
// block that grows may have.
size_t room_for(size_t size, size_t small) {
  size_t reserved = size + size / 4;
  if (live.fetch_add(reserved) + reserved <= live_bound) return size;
  live.fetch_sub(reserved);
  live.fetch_add(small + small / 4);
  return small;
}

// Room for `asked` bytes was reserved.
Held adopt(void* p, size_t asked, size_t alignment) {
  if (p == nullptr) violated("refused", p, asked);
  if (reinterpret_cast<uintptr_t>(p) % alignment != 0) violated("misaligned", p, asked);
  size_t size = CALL(usable_size)(p);
  if (size < asked) violated("usable size below what was asked for", p, asked);
  Held held{static_cast<char*>(p), size, next_stamp.fetch_add(1)};
  size_t total = live.fetch_add(size - asked - asked / 4) + size - asked - asked / 4;
  size_t peak = live_peak.load();
  while (total > peak && !live_peak.compare_exchange_weak(peak, total)) {
  }
  fill(held);
  return held;
}

void release(Held& held) {
  check(held, held.size, "overwritten");
  CALL(free)(held.p);
  live.fetch_sub(held.size);
  held.p = nullptr;
}

// Log-distributed, and now and then at a power of two or just above.
size_t random_size(Random& random) {
  unsigned bits = unsigned(random.below(random.below(400) == 0 ? 27 : random.below(12) == 0 ? 18 : 12));
  size_t size = size_t{1} << bits;
  size = random.below(16) == 0 ? size + random.below(3) - 1 : random.below(size) * 2;
  return size < kSizeMax ? size : kSizeMax;
}

// One that all threads share.
poolalloc_heap* common = nullptr;

// A heap that is gone with all its blocks.
void use_a_heap(Random& random) {
  if (common == nullptr) return;
  poolalloc_heap* heap = poolalloc_heap_new(nullptr);
  if (heap == nullptr) violated("refused", nullptr, 0);
  bool is_pushed = random.below(2) == 0;
  if (is_pushed && poolalloc_heap_push(heap) != 0) violated("refused", heap, 0);
  Held blocks[20];
  for (Held& block : blocks) {
    size_t size = room_for(random_size(random), random.below(256));
    block = adopt(is_pushed ? CALL(malloc)(size) : poolalloc_heap_alloc(heap, size), size, 16);
  }
  if (is_pushed) poolalloc_heap_pop();
  for (Held& block : blocks) {
    check(block, block.size, "overwritten");
    live.fetch_sub(block.size);
    if (random.below(4) == 0) CALL(free)(block.p);
  }
  poolalloc_heap_delete(heap);
}

Held allocate(Random& random) {
  size_t size = room_for(random_size(random), random.below(256));
  if (common != nullptr && random.below(8) == 0) return adopt(poolalloc_heap_alloc(common, size), size, 16);
  uint64_t what = random.below(100);
  if (what < 20) {
    size_t count = size % 3 == 0 ? 3 : 1;
    void* p = CALL(calloc)(count, size / count);
    if (p != nullptr) check_zero(static_cast<char*>(p), size);
    return adopt(p, size, 16);
  }
  if (what < 35) {
    size_t alignment = size_t{1} << random.below(random.below(32) == 0 ? 25 : 15);
    if (what < 28) return adopt(CALL(memalign)(alignment, size), size, alignment);
    void* p = nullptr;
    if (alignment < sizeof(void*)) alignment = sizeof(void*);
    if (CALL(posix_memalign)(&p, alignment, size) != 0) p = nullptr;
    return adopt(p, size, alignment);
  }
  return adopt(CALL(malloc)(size), size, 16);
}

void resize(Held& held, Random& random) {
  size_t size = random.below(3) == 0 ? random_size(random) : held.size / 2 + random.below(held.size + 1);
  size = room_for(size == 0 || size > kSizeMax ? 1 : size, 1 + random.below(256));
  check(held, held.size, "overwritten");
  Held old = held;
  void* p = CALL(realloc)(held.p, size);
  if (p == nullptr) violated("refused", p, size);
  old.p = static_cast<char*>(p);
  check(old, size < old.size ? size : old.size, "realloc lost contents");
  live.fetch_sub(old.size);
  held = adopt(p, size, 16);
}

// --- Slots through which blocks pass from thread to thread --------------------------------------------------

Slot shared[kShared];

void swap_with_shared(Held& held, Random& random) { shared[random.below(kShared)].swap(held); }

// --- Threads --------------------------------------------------------------------------------------------

// One thread's life; what it still holds at its end is left to others or freed.
void live_and_die(uint64_t thread_seed, uint64_t steps) {
  Random random{thread_seed};
  Held own[kOwn] = {};
  bool is_pushed = common != nullptr && random.below(8) == 0 && poolalloc_heap_push(common) == 0;
  for (uint64_t i = 0; i < steps; i++) {
    Held& held = own[random.below(kOwn)];
    uint64_t what = random.below(100);
    if (held.p == nullptr) {
      held = allocate(random);
    } else if (what < 20) {
      resize(held, random);
    } else if (what < 50) {
      swap_with_shared(held, random);
    } else {
      release(held);
    }
    if (live.load() > live_bound / 2 && own[i % kOwn].p != nullptr) release(own[i % kOwn]);
    if (random.below(30000) == 0) CALL(malloc_trim)(0);
    if (random.below(2000) == 0) use_a_heap(random);
    if (i % 256 == 255 && now() > deadline) break;
  }
  for (Held& held : own) {
    if (held.p != nullptr && random.below(2) == 0) swap_with_shared(held, random);
    if (held.p != nullptr) release(held);
  }
  if (is_pushed) poolalloc_heap_pop();
  operations.fetch_add(steps);
}

struct Life {
  uint64_t seed, steps;
};
void* life(void* argument) {
  Life* mine = static_cast<Life*>(argument);
  live_and_die(mine->seed, mine->steps);
  return nullptr;
}

// One thread after the other until the time is over.
void* lane(void* argument) {
  Random random{*static_cast<uint64_t*>(argument)};
  while (now() < deadline) {
    Life next{random.next(), random.below(4) == 0 ? random.below(200) : random.below(20000)};
    pthread_t thread;
    if (pthread_create(&thread, nullptr, life, &next) != 0) violated("no thread", nullptr, 0);
    pthread_join(thread, nullptr);
    threads_started.fetch_add(1);
  }
  return nullptr;
}

// --- Children ---------------------------------------------------------------------------------------------

void live_as_child(uint64_t child_seed) {
  deadline = now() + 0.05;
  live = 0;
  live_and_die(child_seed, 2000);
  for (Slot& slot : shared) {
    // Taken at the time of the fork: nobody will give it back.
    if (!slot.try_lock()) continue;
    if (slot.held.p != nullptr) release(slot.held);
  }
  if (CHILD_MAY_START_THREADS) {
    Life next{child_seed + 1, 2000};
    pthread_t thread;
    if (pthread_create(&thread, nullptr, life, &next) != 0) violated("no thread", nullptr, 0);
    pthread_join(thread, nullptr);
  }
  live_and_die(child_seed + 2, 2000);
  CALL(malloc_trim)(0);
}

void fork_now_and_then(Random& random) {
  while (now() < deadline) {
    usleep(useconds_t(20000 + random.below(80000)));
    uint64_t child_seed = random.next();
    in_child([&] { live_as_child(child_seed); });
    forks_done.fetch_add(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  double values[4] = {seconds, double(lanes), double(seed), double(live_bound >> 20)};
  int given = 0;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--fork") == 0) {
      forks = true;
    } else if (given < 4) {
      values[given++] = strtod(argv[i], nullptr);
    }
  }
  seconds = values[0];
  lanes = unsigned(values[1]);
  seed = uint64_t(values[2]);
  live_bound = size_t(values[3]) << 20;
  if (seconds <= 0 || lanes < 1 || lanes > 256 || live_bound == 0) {
    fprintf(stderr, "usage: stress [SECONDS [THREADS [SEED [LIVE_MIB]]]] [--fork]\n");
    return 2;
  }

  deadline = now() + seconds;
  if (&poolalloc_heap_new != nullptr) common = poolalloc_heap_new(nullptr);
  Random random{seed};
  pthread_t threads[256];
  uint64_t seeds[256];
  for (unsigned i = 0; i < lanes; i++) {
    seeds[i] = random.next();
    if (pthread_create(&threads[i], nullptr, lane, &seeds[i]) != 0) violated("no thread", nullptr, 0);
  }
  if (forks) fork_now_and_then(random);
  for (unsigned i = 0; i < lanes; i++) pthread_join(threads[i], nullptr);
  for (Slot& slot : shared) {
    if (slot.held.p != nullptr) release(slot.held);
  }
  if (live.load() != 0) violated("blocks are lost", nullptr, live.load());
  printf("stress: %llu operations by %llu threads, %llu forks, at most %zu MiB live, seed %llu: no violation\n",
         (unsigned long long)operations.load(), (unsigned long long)threads_started.load(),
         (unsigned long long)forks_done.load(), live_peak.load() >> 20, (unsigned long long)seed);
  return 0;
}
