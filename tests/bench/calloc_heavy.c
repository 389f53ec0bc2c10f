/* Stands for hash tables, matrices and zeroed records: calloc of 32 bytes to 1 MiB, all of it then used.
 *
 * Every block must be zero although the memory has been used before.
 */
#include "common.h"

enum { kWindow = 4000, kSteps = 4000000 };

static size_t next_size(uint64_t* state) {
  uint64_t random = random_next(state);
  if (random % 4096 == 0) return 65536 + random / 65536 % 983040;
  return random % 16 == 0 ? 1024 + random / 64 % 15360 : 32 + random / 64 % 480;
}

static char* zeroed(size_t size) {
  char* block = calloc(1, size);
  if (block == NULL) fail("no memory");
  size_t stride = block_stride(size);
  for (size_t at = 0; at < size; at += stride) {
    if (block[at] != 0) fail("a block of calloc is not zero");
  }
  if (block[size - 1] != 0) fail("a block of calloc is not zero");
  return block;
}

int main(int argc, char** argv) {
  static Slot live[kWindow];
  long steps = share(kSteps, argument(argc, argv, 1, 100));
  uint64_t random = 88172645463325252u, sum = 0;
  for (long i = 0; i < steps; i++) {
    size_t at = random_next(&random) % kWindow;
    slot_end(&live[at], 1);
    live[at].size = next_size(&random);
    live[at].block = zeroed(live[at].size);
    block_mark(live[at].block, live[at].size, 1);
    sum += live[at].size;
  }
  report_checksum(sum);
  return 0;
}
