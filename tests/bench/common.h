/* What the benchmark programs share: their arguments, random numbers, and blocks that know their content.
 *
 * Always holds: a program's first argument is the share of its full work in percent (default 100); the same
 * arguments lead to the same allocations; a block that is missing or whose content changed ends the program
 * with status 1, a wrong argument with status 2.
 */
#ifndef POOLALLOC_BENCH_COMMON_H
#define POOLALLOC_BENCH_COMMON_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void fail(const char* what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

/* The argument at index, a whole number from 1 on. */
static inline long argument(int argc, char** argv, int index, long fallback) {
  if (index >= argc) return fallback;
  char* end;
  long value = strtol(argv[index], &end, 10);
  if (*end == 0 && end != argv[index] && value > 0) return value;
  fprintf(stderr, "%s: not a number from 1 on\n", argv[index]);
  exit(2);
}

static inline long share(long full, long percent) {
  long part = full * percent / 100;
  return part > 0 ? part : 1;
}

/* xorshift64: *state is never 0. */
static inline uint64_t random_next(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* A size as programs mostly ask for: three in four below 128 bytes, the others up to 1 KiB. */
static inline size_t random_small_size(uint64_t* state) {
  uint64_t random = random_next(state);
  return (random & 7) < 6 ? 16 + random / 64 % 112 : 128 + random / 64 % 900;
}

/* A small block is touched in every cache line, one of 64 KiB and more in every OS page. */
static inline size_t block_stride(size_t size) { return size < 65536 ? 64 : 4096; }

static inline void block_mark(char* block, size_t size, char mark) {
  if (block == NULL) fail("no memory");
  size_t stride = block_stride(size);
  for (size_t at = 0; at < size; at += stride) block[at] = mark;
  block[size - 1] = mark;
}

static inline void block_check(const char* block, size_t size, char mark) {
  if (block[0] != mark || block[size - 1] != mark) fail("a block's content changed");
}

static inline char* block_make(size_t size, char mark) {
  char* block = (char*)malloc(size);
  block_mark(block, size, mark);
  return block;
}

static inline void block_end(char* block, size_t size, char mark) {
  block_check(block, size, mark);
  free(block);
}

/* A place for a block in a window of live ones; empty while it is all zero. */
typedef struct Slot {
  char* block;
  size_t size;
} Slot;

static inline void slot_end(Slot* slot, char mark) {
  if (slot->block != NULL) block_end(slot->block, slot->size, mark);
}

/* Frees what is there and allocates size bytes in its place. */
static inline void slot_renew(Slot* slot, size_t size, char mark) {
  slot_end(slot, mark);
  slot->size = size;
  slot->block = block_make(size, mark);
}

/* What a program prints last; it depends on the arguments only. */
static inline void report_checksum(uint64_t sum) { printf("checksum %llu\n", (unsigned long long)sum); }
static inline void report_operations(long count) { printf("operations %ld\n", count); }

#endif
