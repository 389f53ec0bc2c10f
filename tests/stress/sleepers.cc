// Threads that fall asleep while others free their blocks, give their memory back, end and fork: what a thread's heap
// goes through without its owner.
//
//   sleepers [SECONDS [THREADS [SEED]]]
//
// Always holds: it calls plain malloc, so that it judges whatever allocator is preloaded. Exits 0 after one line on
// stdout, or 1 after one line on stderr that names the law violated. When all threads have ended and every block is
// freed, libpoolalloc counts no more live blocks than before.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "blocks.h"
#include "poolalloc.h"

extern "C" __attribute__((weak)) decltype(poolalloc_stats_get) poolalloc_stats_get;

namespace {

constexpr unsigned kShared = 4000;
constexpr unsigned kBurst = 700;
// One block of 64 KiB holds thousands of the first and one of the last.
constexpr uint32_t kSizes[] = {16, 48, 208, 1000, 3000, 10000, 30000, 60000};
// libc keeps 40 MiB of stacks of ended threads, each with a block.
constexpr size_t kStackSize = size_t{8} << 20;
constexpr uint64_t kKeptMost = 6;

double deadline;
Slot shared[kShared];
std::atomic<uint64_t> next_stamp{1}, blocks_used{0}, threads_ended{0}, forks_done{0};

Held allocate(size_t size) {
  void* p = malloc(size);
  if (p == nullptr) violated("refused", p, size);
  Held held{static_cast<char*>(p), malloc_usable_size(p), next_stamp.fetch_add(1)};
  fill(held);
  return held;
}

void release(Held& held) {
  if (held.p == nullptr) return;
  check(held, held.size, "overwritten");
  free(held.p);
  held.p = nullptr;
}

// Leaves `held` to whoever comes by, and gets what lay there.
void swap_with_shared(Held& held, Random& random) { shared[random.below(kShared)].swap(held); }

// The pool runs empty again and again.
void use_and_free(Random& random) {
  size_t size = kSizes[random.below(5)];
  for (uint64_t times = random.below(200); times-- > 0;) {
    Held own[150];
    uint64_t count = random.below(16) == 0 ? 150 : 1 + random.below(8);
    for (uint64_t i = 0; i < count; i++) own[i] = allocate(size);
    for (uint64_t i = 0; i < count; i++) release(own[i]);
    blocks_used.fetch_add(count, std::memory_order_relaxed);
  }
}

// Whole pools whose blocks all go to others; and what others have left here is freed.
void hand_over(Random& random) {
  size_t size = kSizes[random.below(8)];
  uint64_t count = 1 + random.below(size < 1000 ? kBurst : kBurst / 16);
  for (uint64_t i = 0; i < count; i++) {
    Held held = allocate(size);
    swap_with_shared(held, random);
    release(held);
  }
  blocks_used.fetch_add(count, std::memory_order_relaxed);
}

void free_shared(Random& random, uint64_t count) {
  while (count-- > 0) {
    Held none{};
    swap_with_shared(none, random);
    release(none);
  }
}

void live(uint64_t seed) {
  Random random{seed};
  for (uint64_t steps = 1 + random.below(40); steps-- > 0 && now() < deadline;) {
    switch (random.below(5)) {
      case 0:
        hand_over(random);
        break;
      case 1:
        free_shared(random, random.below(kShared));
        break;
      case 2:
        usleep(useconds_t(random.below(random.below(8) == 0 ? 60000 : 15000)));
        break;
      default:
        use_and_free(random);
    }
  }
}

void* life(void* seed) {
  live(*static_cast<uint64_t*>(seed));
  return nullptr;
}

pthread_t start(void* (*run)(void*), void* argument) {
  pthread_t thread;
  pthread_attr_t attributes;
  bool is_started = pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, kStackSize) == 0 &&
                    pthread_create(&thread, &attributes, run, argument) == 0;
  if (!is_started) violated("no thread", nullptr, 0);
  return thread;
}

void live_in_thread(uint64_t seed) { pthread_join(start(life, &seed), nullptr); }

// One thread after the other until the time is over.
void* lane(void* seed) {
  Random random{*static_cast<uint64_t*>(seed)};
  while (now() < deadline) {
    live_in_thread(random.next());
    threads_ended.fetch_add(1);
  }
  return nullptr;
}

void* trim(void*) {
  Random random{7};
  while (now() < deadline) {
    malloc_trim(0);
    usleep(useconds_t(random.below(random.below(4) == 0 ? 30000 : 1000)));
  }
  return nullptr;
}

void free_all_shared() {
  for (Slot& slot : shared) {
    // Taken at the time of the fork: nobody will give it back.
    if (!slot.try_lock()) continue;
    release(slot.held);
    slot.unlock();
  }
}

void live_as_child(uint64_t seed) {
  deadline = now() + 0.03;
  live(seed);
  free_all_shared();
  live_in_thread(seed + 1);
  malloc_trim(0);
}

uint64_t live_blocks() {
  poolalloc_stats stats{};
  if (&poolalloc_stats_get != nullptr) poolalloc_stats_get(&stats, sizeof stats);
  return stats.live_blocks;
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? strtod(argv[1], nullptr) : 10;
  const unsigned lanes = argc > 2 ? unsigned(atoi(argv[2])) : 6;
  Random random{argc > 3 ? strtoull(argv[3], nullptr, 10) : 1};
  constexpr unsigned kMost = 64;
  if (seconds <= 0 || lanes < 1 || lanes > kMost) {
    fprintf(stderr, "usage: sleepers [SECONDS [THREADS [SEED]]]\n");
    return 2;
  }
  const uint64_t before = live_blocks();
  deadline = now() + seconds;
  pthread_t threads[kMost + 1];
  uint64_t seeds[kMost];
  threads[lanes] = start(trim, nullptr);
  for (unsigned i = 0; i < lanes; i++) {
    seeds[i] = random.next();
    threads[i] = start(lane, &seeds[i]);
  }
  while (now() < deadline) {
    usleep(useconds_t(10000 + random.below(60000)));
    use_and_free(random);
    uint64_t seed = random.next();
    in_child([&] { live_as_child(seed); });
    forks_done.fetch_add(1);
  }
  for (unsigned i = 0; i <= lanes; i++) pthread_join(threads[i], nullptr);
  free_all_shared();
  // What this thread has not sent yet it sends now.
  malloc_trim(0);
  const uint64_t after = live_blocks();
  if (after > before + kKeptMost) violated("blocks are lost", nullptr, after - before);
  printf("sleepers: %llu blocks, %llu threads, %llu forks, %llu live at the end, %llu before: no violation\n",
         (unsigned long long)blocks_used.load(), (unsigned long long)threads_ended.load(),
         (unsigned long long)forks_done.load(), (unsigned long long)after, (unsigned long long)before);
  return 0;
}
