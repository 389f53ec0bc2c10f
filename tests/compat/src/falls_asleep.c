/* falls_asleep <MiB> <times> <seconds>: so often takes that much memory in blocks of all sizes and frees it; then makes
 * no call of the allocator for some seconds, and calls malloc_trim. Prints, in MiB: resident before, at the peak, after
 * the last free, after the sleep and after malloc_trim. */
#include "check.h"

enum { most = 400000 };
static char* blocks[most];

static long resident(void) { return rss_kib() / 1024; }

int main(int argc, char** argv) {
  LAW(argc == 4, "usage");
  size_t wanted = strtoul(argv[1], NULL, 10) * MIB;
  memset(blocks, 0, sizeof blocks);
  long before = resident(), peak = 0;
  for (long round = 0; round < atol(argv[2]); round++) {
    uint64_t state = (uint64_t)round + 1;
    int count = 0;
    for (size_t taken = 0; taken < wanted && count < most; count++) {
      size_t size = 1 + random_next(&state) % ((size_t)256 << random_next(&state) % 13);
      blocks[count] = malloc(size);
      LAW(blocks[count], "malloc(%zu)", size);
      memset(blocks[count], 0x5a, size);
      taken += size;
    }
    if (resident() > peak) peak = resident();
    for (int i = 0; i < count; i++) free(blocks[i]);
  }
  long freed = resident();
  sleep((unsigned)atoi(argv[3]));
  long slept = resident();
  malloc_trim(0);
  printf("%ld %ld %ld %ld %ld\n", before, peak, freed, slept, resident());
  return 0;
}
