/* Allocates in the manner its argument names and prints what the process then has, in KiB: resident memory, and how
 * much of it is in huge pages. */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kMiB = 1 << 20, kThreads = 64 };

static void* touched(size_t size) {
  char* p = malloc(size);
  if (p == NULL) abort();
  for (size_t i = 0; i < size; i += 64) p[i] = 1;
  return p;
}

/* Blocks of all sizes, most of them small. */
static void fill(size_t bytes) {
  uint64_t random = 88172645463325252u;
  for (size_t sum = 0; sum < bytes;) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    size_t size = 16 + (random >> 20) % ((random & 15) == 0 ? 20000 : 400);
    touched(size);
    sum += size;
  }
}

/* A peak of so many MiB, of which one block in `kept` is left (0: one in all), and what is free given back. */
static void peak(long mib, long kept) {
  const size_t size = 480, count = (size_t)mib * kMiB / size;
  char** blocks = malloc(count * sizeof *blocks);
  for (size_t i = 0; i < count; i++) blocks[i] = touched(size);
  for (size_t i = 1; i < count; i++) {
    if (kept == 0 || i % kept != 0) free(blocks[i]);
  }
  free(blocks);
  malloc_trim(0);
}

static pthread_barrier_t met;
static void* use_little(void* argument) {
  for (size_t size = 16; size <= 30000; size += size / 8 + 16) touched(size);
  pthread_barrier_wait(&met);
  pthread_barrier_wait(&met);
  return argument;
}

static void threads_use_little(void) {
  static pthread_t threads[kThreads];
  pthread_barrier_init(&met, NULL, kThreads + 1);
  for (int i = 0; i < kThreads; i++) pthread_create(&threads[i], NULL, use_little, NULL);
  pthread_barrier_wait(&met);
}

static long field(const char* name) {
  char line[256];
  long value = -1;
  FILE* file = fopen("/proc/self/smaps_rollup", "r");
  if (file == NULL) return -1;
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) value = atol(line + strlen(name));
  }
  fclose(file);
  return value;
}

int main(int argc, char** argv) {
  const char* manner = argc > 1 ? argv[1] : "";
  if (strcmp(manner, "small") == 0 && argc > 2) {
    fill((size_t)atol(argv[2]) * kMiB / 4); /* quarters of a MiB */
  } else if (strcmp(manner, "peak") == 0 && argc > 3) {
    peak(atol(argv[2]), atol(argv[3]));
  } else if (strcmp(manner, "large") == 0) {
    fill((size_t)256 * kMiB);
  } else if (strcmp(manner, "threads") == 0) {
    threads_use_little();
  } else if (strcmp(manner, "sparse") == 0) {
    char* p = calloc(512, kMiB);
    for (size_t i = 0; i < 512; i += 2) p[i * kMiB] = 1;
  } else if (strcmp(manner, "reserved") == 0) {
    char* p = malloc((size_t)512 * kMiB);
    memset(p, 1, kMiB);
    for (int i = 0; i < 20; i++) memset(malloc((size_t)16 * kMiB), 1, kMiB / 16);
  } else if (strcmp(manner, "buffer") == 0) {
    touched((size_t)256 * kMiB);
  } else if (strcmp(manner, "buffers") == 0) {
    for (int i = 0; i < 64; i++) touched((size_t)4 * kMiB);
  } else if (strcmp(manner, "medium") == 0) {
    for (int i = 0; i < 12000; i++) touched(20000);
  } else if (strcmp(manner, "sparse-medium") == 0) {
    fill(20 * kMiB);
    for (int i = 0; i < 12000; i++) *(char*)malloc(20000) = 1;
  } else if (strcmp(manner, "sparse-after-dense") == 0) {
    for (int i = 0; i < 16; i++) touched((size_t)4 * kMiB);
    for (int i = 0; i < 100; i++) *((char*)malloc((size_t)4 * kMiB) + kMiB) = 1;
  } else if (strcmp(manner, "grown") == 0) {
    char* p = NULL;
    for (size_t size = kMiB; size <= (size_t)256 * kMiB; size += size / 2) {
      p = realloc(p, size);
      memset(p, 1, size);
    }
  } else {
    return 2;
  }
  printf("%ld %ld\n", field("Rss:"), field("AnonHugePages:"));
  return 0;
}
