/* realloc_matrix <classes|threads|huge>: grows and shrinks across every size class, from aligned blocks, in other threads;
 * `huge` grows one block from 100 MiB to above 4 GiB by half each time and prints the seconds this took, and
 * those of copying 100 MiB once into fresh memory.
 * Always: the bytes that fit are kept, and neighbours are not touched. */
#include "check.h"

static size_t sizes[400];
static int size_count;

static void sizes_made(void) {
  for (size_t size = 1; size < 1100; size += size < 64 ? 5 : size / 9) sizes[size_count++] = size;
  for (size_t power = 1024; power <= 16 * MIB; power *= 2)
    for (size_t part = 8; part < 16; part += power < 256 * KIB ? 1 : 4)
      for (int off = -1; off <= 1; off += 2) sizes[size_count++] = power / 8 * part + off;
}

static void *grown_and_shrunk(void *block, size_t from, size_t to, unsigned seed) {
  fill_some(block, from, seed);
  unsigned char last = from <= to ? ((unsigned char *)block)[from - 1] : ((unsigned char *)block)[0];
  block = realloc(block, to);
  LAW(block && malloc_usable_size(block) >= to, "realloc from %zu to %zu", from, to);
  unsigned char *bytes = block;
  if (from <= to) {
    LAW(filled_some(block, from, seed) && bytes[from - 1] == last, "growing from %zu to %zu lost bytes", from, to);
  } else {
    for (size_t i = 0; i < to && i + 64 < from; i = next_place(i, from))
      LAW(bytes[i] == pattern_at(i, seed), "shrinking from %zu to %zu lost byte %zu", from, to, i);
  }
  return block;
}

static void classes(void) {
  for (int i = 0; i < size_count; i++)
    for (int j = 0; j < size_count; j++) {
      if (sizes[i] > 300 * KIB && sizes[j] > 300 * KIB && (i + j) % 5) continue;
      if ((sizes[i] > 300 * KIB || sizes[j] > 300 * KIB) && (i + j) % 7) continue;
      unsigned seed = i * 31 + j;
      char *neighbour = malloc(sizes[i]);
      fill(neighbour, sizes[i] < 64 ? sizes[i] : 64, seed + 1);
      size_t alignment = (size_t)16 << (seed % 10);
      void *block = seed % 3 == 0 ? memalign(alignment, sizes[i]) : seed % 3 == 1 ? calloc(1, sizes[i]) : malloc(sizes[i]);
      LAW(block, "no block of %zu", sizes[i]);
      block = grown_and_shrunk(block, sizes[i], sizes[j], seed);
      block = grown_and_shrunk(block, sizes[j], sizes[i], seed + 2);
      LAW(filled(neighbour, sizes[i] < 64 ? sizes[i] : 64, seed + 1), "realloc changed a neighbour");
      free(block);
      free(neighbour);
    }
}

static void *shared[64];

static void *other_thread(void *argument) {
  uint64_t state = (uintptr_t)argument;
  for (int i = 0; i < 20000; i++) {
    void *block = __atomic_exchange_n(&shared[random_next(&state) % 64], NULL, __ATOMIC_ACQ_REL);
    size_t from = sizes[random_next(&state) % (size_count - 30)], to = sizes[random_next(&state) % (size_count - 30)];
    if (!block) {
      block = malloc(from + sizeof(size_t));
      LAW(block, "malloc in a thread");
    } else {
      from = *(size_t *)block;
      LAW(filled_some((size_t *)block + 1, from, 77), "a passed block of %zu has changed", from);
      size_t kept = from < to ? from : to;
      block = realloc(block, to + sizeof(size_t));
      LAW(block, "realloc in another thread");
      if (kept == from) LAW(filled_some((size_t *)block + 1, from, 77), "realloc in another thread lost bytes");
      from = to;
    }
    *(size_t *)block = from;
    fill_some((size_t *)block + 1, from, 77);
    void *old = __atomic_exchange_n(&shared[random_next(&state) % 64], block, __ATOMIC_ACQ_REL);
    free(old);
  }
  return NULL;
}

static void threads(void) {
  pthread_t thread[4];
  for (long i = 0; i < 4; i++) start_thread(&thread[i], other_thread, (void *)(i + 1));
  for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < 64; i++) free(shared[i]);
}

static void huge(void) {
  size_t size = 100 * MIB, first = size;
  unsigned char *block = malloc(size);
  LAW(block, "100 MiB");
  for (size_t i = 0; i < first; i += 4096) block[i] = pattern_at(i, 5);
  double start = now_s();
  while (size < 4 * GIB) {
    size += size / 2;
    block = realloc(block, size);
    LAW(block, "realloc to %zu", size);
    LAW(block[0] == pattern_at(0, 5) && block[first - 4096] == pattern_at(first - 4096, 5), "growing to %zu lost bytes", size);
    block[size - 1] = 1;
  }
  double seconds = now_s() - start;
  for (size_t i = 0; i < first; i += 4096) LAW(block[i] == pattern_at(i, 5), "growing to %zu lost byte %zu", size, i);
  block = realloc(block, 5000);
  LAW(block && block[4096] == pattern_at(4096, 5), "shrinking to 5000 lost bytes");
  free(block);
  unsigned char *from = malloc(first), *to = malloc(first);
  memset(from, 1, first);
  start = now_s();
  memcpy(to, from, first);
  double copy_seconds = now_s() - start;
  LAW(to[first - 1] == 1, "memcpy");
  printf("%.6f %.6f\n", seconds, copy_seconds);
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  sizes_made();
  LAW(size_count <= 400, "too many sizes: %d", size_count);
  if (strcmp(argv[1], "classes") == 0) classes();
  if (strcmp(argv[1], "threads") == 0) threads();
  if (strcmp(argv[1], "huge") == 0) huge();
  return 0;
}
