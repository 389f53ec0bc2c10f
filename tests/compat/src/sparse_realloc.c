/* sparse_realloc <seed> <MiB> <steps>: one block that changes its size again and again, up to so many MiB, and of which
 * a few places are written to in each step. Always: what is written stays. Prints the most KiB that were resident beyond
 * what was resident at the start and the pages that are written to. */
#include "check.h"

enum { kMarksMost = 4096, kPerStep = 3 };
static size_t places[kMarksMost];

int main(int argc, char** argv) {
  LAW(argc == 4, "usage");
  const unsigned seed = (unsigned)atoi(argv[1]);
  const size_t most = strtoul(argv[2], NULL, 10) * MIB, page = (size_t)sysconf(_SC_PAGESIZE);
  const int steps = atoi(argv[3]);
  LAW(steps * kPerStep <= kMarksMost, "too many steps");
  uint64_t state = seed + 1;
  size_t count = 0, size = 100 * KIB;
  char* block = malloc(size);
  const long start = rollup_kib("Rss:");
  long beyond = 0;
  for (int i = 0; i < steps; i++) {
    const size_t before = size;
    /* Of every order of magnitude; every fourth time a little more or less than before. */
    size = i % 4 == 3 ? size - size / 8 + random_next(&state) % (size / 4)
                      : (100 * KIB) << random_next(&state) % 20;
    size += random_next(&state) % page;
    if (size > most) size = most - random_next(&state) % (most / 2);
    block = realloc(block, size);
    LAW(block != NULL, "realloc(%zu)", size);
    size_t kept = 0;
    for (size_t m = 0; m < count; m++) {
      if (places[m] >= before || places[m] >= size) continue;
      LAW((unsigned char)block[places[m]] == (pattern_at(places[m], seed) | 1), "byte %zu of %zu", places[m], size);
      places[kept++] = places[m];
    }
    count = kept;
    for (int k = 0; k < kPerStep; k++) {
      const size_t place = random_next(&state) % size;
      block[place] = (char)(pattern_at(place, seed) | 1);
      places[count++] = place;
    }
    const long now = rollup_kib("Rss:") - start - (long)(count * page / KIB);
    if (now > beyond) beyond = now;
  }
  printf("%ld\n", beyond);
  return 0;
}
