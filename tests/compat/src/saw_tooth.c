/* saw_tooth <MiB> <times> <MiB more>: takes that much memory and frees it, again and again, in blocks of a size that
 * changes each time; then takes more until malloc refuses, or MiB more are had. Prints: MiB had in the end, and errno
 * if malloc refused. Always: content is kept; after a refusal all that was freed can be had again. */
#include "check.h"

static void** last;
static size_t had;

/* Whether it got as much as was asked for. */
static int take(size_t size, size_t bytes) {
  for (size_t taken = 0; taken < bytes; taken += size, had += size) {
    void** block = malloc(size);
    if (!block) return 0;
    memset(block, 0x5a, size);
    block[0] = last;
    last = block;
  }
  return 1;
}

static void give(size_t size) {
  while (last) {
    void** block = last;
    last = block[0];
    LAW(((unsigned char*)block)[size - 1] == 0x5a, "a block of %zu bytes has changed", size);
    free(block);
  }
  had = 0;
}

int main(int argc, char** argv) {
  LAW(argc == 4, "usage");
  static const size_t sizes[] = {48, 700, 5000, 40000, 300000, 6000000};
  size_t bytes = strtoul(argv[1], NULL, 10) * MIB, more = strtoul(argv[3], NULL, 10) * MIB;
  long times = atol(argv[2]);
  for (long i = 0; i < times; i++) {
    size_t size = sizes[i % 6];
    LAW(take(size, bytes), "round %ld: %zu MiB in blocks of %zu bytes, and no more", i, had / MIB, size);
    give(size);
  }
  errno = 0;
  int error = take(5000, more) ? 0 : errno;
  size_t most = had;
  give(5000);
  LAW(take(5000, most - most / 8), "after a refusal %zu MiB, not %zu", had / MIB, most / MIB);
  give(5000);
  printf("%zu %d\n", most / MIB, error);
  return 0;
}
