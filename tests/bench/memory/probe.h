/* What the memory probes share: a record of live and resident memory over time, and named figures.
 *
 * Always holds: lines on standard output are "sample MS LIVE_KIB RESIDENT_KIB", taken every 20 ms by a thread
 * that allocates nothing, and "figure NAME VALUE"; figures are exact, samples as exact as the kernel's counters.
 */
#ifndef POOLALLOC_BENCH_PROBE_H
#define POOLALLOC_BENCH_PROBE_H

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "../common.h"

/* Bytes of live blocks, as the probe counts them. Any thread may add. */
static long probe_live;
static double probe_began;

static inline void live_add(long bytes) { __atomic_fetch_add(&probe_live, bytes, __ATOMIC_RELAXED); }

static inline double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void sleep_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

/* A file of /proc, without allocating. */
static inline void read_file(const char* path, char* text, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  long length = file < 0 ? -1 : read(file, text, size - 1);
  text[length > 0 ? length : 0] = 0;
  if (file >= 0) close(file);
}

static inline long field_kib(const char* path, const char* name) {
  char text[4096];
  read_file(path, text, sizeof text);
  const char* at = strstr(text, name);
  if (at == NULL) fail("no such field in /proc");
  return strtol(at + strlen(name), NULL, 10);
}

static inline long resident_kib(void) { return field_kib("/proc/self/smaps_rollup", "Rss:"); }
static inline double resident_mib(void) { return (double)resident_kib() / 1024; }

static inline void figure(const char* name, double value) {
  printf("figure %s %.4f\n", name, value);
  fflush(stdout);
}

static void* probe_sample(void* unused) {
  for (;; sleep_ms(20)) {
    char text[128];
    read_file("/proc/self/statm", text, sizeof text);
    char* resident = strchr(text, ' ');
    if (resident == NULL) continue;
    long pages = strtol(resident, NULL, 10), live = __atomic_load_n(&probe_live, __ATOMIC_RELAXED);
    int length = snprintf(text, sizeof text, "sample %ld %ld %ld\n", (long)((now_s() - probe_began) * 1000),
                          live / 1024, pages * (sysconf(_SC_PAGESIZE) / 1024));
    if (write(STDOUT_FILENO, text, (size_t)length) != length) fail("standard output is closed");
  }
  return unused;
}

/* Makes static memory resident before it counts, and zero again. */
static inline void touch(void* memory, size_t size) {
  memset(memory, 1, size);
  memset(memory, 0, size);
}

/* Goes on with a record that has begun, in the child of a fork. */
static inline void probe_continue(void) {
  pthread_t sampler;
  if (pthread_create(&sampler, NULL, probe_sample, NULL) != 0) fail("no thread");
  sleep_ms(40);
}

/* Begins the record. */
static inline void probe_start(void) {
  static char out[65536];
  setvbuf(stdout, out, _IOFBF, sizeof out);
  probe_began = now_s();
  probe_continue();
}

/* Lets time pass as a program does that is not quite idle. */
static inline void linger(long ms) {
  for (; ms > 0; ms -= 100, sleep_ms(100)) {
    for (size_t size = 100; size < 1100; size++) free(block_make(size, 1));
  }
}

static pthread_barrier_t probe_all_sleep;

/* The end of a thread that start_sleepers has started. */
static inline void* sleep_for_ever(void) {
  pthread_barrier_wait(&probe_all_sleep);
  for (;;) pause();
  return NULL;
}

/* Starts threads, numbered from 0 in their argument, and returns when all are at sleep_for_ever. */
static inline void start_sleepers(long threads, void* (*work)(void*)) {
  pthread_barrier_init(&probe_all_sleep, NULL, (unsigned)threads + 1);
  for (long i = 0; i < threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, (void*)(uintptr_t)i) != 0) fail("no thread");
  }
  pthread_barrier_wait(&probe_all_sleep);
}

/* 16 bytes to 8 KiB, small ones more often. */
static inline size_t random_mixed_size(uint64_t* random) {
  uint64_t bits = random_next(random);
  return 16 + (bits >> 20) % 8177 * ((bits >> 40) % 256) / 255;
}

/* Fills slots until `bytes` are live; how many it took. */
static inline long fill(Slot* slots, long most, long bytes, uint64_t* random) {
  long count = 0, total = 0;
  for (; total < bytes && count < most; count++) {
    slot_renew(&slots[count], random_mixed_size(random), (char)count);
    total += (long)slots[count].size;
    if (count % 256 == 0) __atomic_store_n(&probe_live, total, __ATOMIC_RELAXED);
  }
  __atomic_store_n(&probe_live, total, __ATOMIC_RELAXED);
  return count;
}

/* Frees them in an order of its own, as programs do. */
static inline void drain(Slot* slots, long count) {
  const long step = 7919; /* a prime */
  long at = 0, freed = 0;
  for (long i = 0; i < count; i++) {
    at = count % step == 0 ? i : (at + step) % count;
    freed += (long)slots[at].size;
    slot_end(&slots[at], (char)at);
    slots[at].block = NULL;
    if (i % 256 == 0) {
      live_add(-freed);
      freed = 0;
    }
  }
  live_add(-freed);
}

#endif
