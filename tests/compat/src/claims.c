/* claims <size> <gib>...: untouched blocks of `size` bytes until so many GiB of address space are in use, and more, and
 * more. At each prints the nanoseconds of processor time that one more block takes: to claim it beside all others, and
 * to free and claim it again; the least mean of many rounds. Always: there is room, or it ends with 77. */
#include "check.h"

enum { kRounds = 60, kBlocks = 64 };

static double cpu_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A block is claimed where others that were free are claimed already, and where one was freed last. */
static void measure(size_t size, size_t gib) {
  void* blocks[kBlocks];
  double claim = 1, again = 1;
  for (int round = 0; round < kRounds; round++) {
    double start = cpu_s();
    for (int i = 0; i < kBlocks; i++) LAW(blocks[i] = malloc(size), "no memory");
    double middle = cpu_s();
    for (int i = 0; i < kBlocks; i++) {
      free(blocks[i * 7 % kBlocks]);
      LAW(blocks[i * 7 % kBlocks] = malloc(size), "no memory");
    }
    double end = cpu_s();
    if (middle - start < claim) claim = middle - start;
    if (end - middle < again) again = end - middle;
    for (int i = 0; i < kBlocks; i++) free(blocks[i]);
  }
  printf("%zu %.0f %.0f\n", gib, claim / kBlocks * 1e9, again / kBlocks * 1e9);
}

int main(int argc, char** argv) {
  LAW(argc >= 3, "usage");
  size_t size = strtoul(argv[1], NULL, 10), total = 0;
  for (int i = 2; i < argc; i++) {
    for (size_t gib = strtoul(argv[i], NULL, 10); total < gib * GIB; total += size)
      if (!malloc(size)) return 77;
    measure(size, total / GIB);
  }
  return 0;
}
