/* Stands for readers of input of unknown length: a buffer grown to 512 MiB, and thousands of small ones.
 *
 * The large buffer grows by half of its size at a time and is touched as it grows, four times from the
 * start; the small ones double in turn, up to 32 KiB.
 */
#include "common.h"

enum { kTimes = 4, kVectors = 3000, kRounds = 4, kVectorMin = 16, kVectorMax = 32768 };

static void* grown(void* block, size_t size) {
  void* larger = realloc(block, size);
  if (larger == NULL) fail("no memory");
  return larger;
}

static size_t grow_large(size_t limit) {
  size_t size = 65536, steps = 0;
  char* block = block_make(size, 1);
  while (size < limit) {
    size_t larger = size + size / 2 < limit ? size + size / 2 : limit;
    block = grown(block, larger);
    block_check(block, size, 1);
    block_mark(block + size, larger - size, 1);
    size = larger;
    steps++;
  }
  block_end(block, size, 1);
  return steps;
}

static void grow_small(void) {
  static char* vectors[kVectors];
  for (int i = 0; i < kVectors; i++) vectors[i] = block_make(kVectorMin, (char)i);
  for (size_t size = kVectorMin; size < kVectorMax; size *= 2) {
    for (int i = 0; i < kVectors; i++) {
      vectors[i] = grown(vectors[i], 2 * size);
      block_check(vectors[i], size, (char)i);
      block_mark(vectors[i] + size, size, (char)i);
    }
  }
  for (int i = 0; i < kVectors; i++) block_end(vectors[i], kVectorMax, (char)i);
}

int main(int argc, char** argv) {
  long percent = argument(argc, argv, 1, 100);
  uint64_t sum = 0;
  for (int i = 0; i < kTimes; i++) sum += grow_large((size_t)share(512, percent) << 20);
  for (long i = share(kRounds, percent); i > 0; i--) grow_small();
  report_checksum(sum);
  return 0;
}
