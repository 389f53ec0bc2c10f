/* idle_threads <threads>: so many threads touch 1 MiB each, in blocks of many sizes, free all of it and fall asleep.
 * Prints what is resident, in KiB: before that, when all had it, when they have slept for five seconds, and after
 * malloc_trim(0) by the main thread. Always: all threads have it at one time, and are alive to the end. */
#include "check.h"

enum { kMost = 2048 };
static pthread_barrier_t begun, full, freed;

static void* use_and_sleep(void* argument) {
  uint64_t state = (uintptr_t)argument;
  static __thread void* blocks[kMost];
  memset(blocks, 1, sizeof blocks); /* resident before it counts */
  memset(blocks, 0, sizeof blocks);
  pthread_barrier_wait(&begun);
  pthread_barrier_wait(&begun);
  size_t total = 0;
  int count = 0;
  for (; total < MIB && count < kMost; count++) {
    size_t size = 64 + random_size(&state, 20000);
    memset(blocks[count] = malloc(size), 1, size);
    total += size;
  }
  pthread_barrier_wait(&full);
  pthread_barrier_wait(&full);
  /* In an order of its own: 7 and 2048 have no divisor in common. */
  for (int i = 0; i < kMost; i++) free(blocks[i * 7 % kMost]);
  pthread_barrier_wait(&freed);
  for (;;) pause();
  return NULL;
}

int main(int argc, char** argv) {
  LAW(argc == 2, "usage");
  long threads = atol(argv[1]), seen[4];
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 128 * KIB);
  pthread_barrier_init(&begun, NULL, (unsigned)threads + 1);
  pthread_barrier_init(&full, NULL, (unsigned)threads + 1);
  pthread_barrier_init(&freed, NULL, (unsigned)threads + 1);
  for (long i = 1; i <= threads; i++) {
    pthread_t thread;
    LAW(pthread_create(&thread, &small, use_and_sleep, (void*)i) == 0, "thread %ld", i);
  }
  pthread_barrier_wait(&begun);
  seen[0] = rss_kib();
  pthread_barrier_wait(&begun);
  pthread_barrier_wait(&full);
  seen[1] = rss_kib();
  pthread_barrier_wait(&full);
  pthread_barrier_wait(&freed);
  sleep(5);
  seen[2] = rss_kib();
  malloc_trim(0);
  seen[3] = rss_kib();
  printf("%ld %ld %ld %ld\n", seen[0], seen[1], seen[2], seen[3]);
  fflush(stdout);
  _exit(0);
}
