/* Stands for interpreters, parsers and request handlers: small objects with short, random lifetimes.
 *
 * A window of live blocks, whose sizes follow what programs mostly ask for; each step frees a random one
 * and allocates another.
 */
#include "common.h"

enum { kWindow = 20000, kSteps = 20000000 };

int main(int argc, char** argv) {
  static Slot live[kWindow];
  long steps = share(kSteps, argument(argc, argv, 1, 100));
  uint64_t random = 88172645463325252u, sum = 0;
  for (long i = 0; i < steps; i++) {
    size_t at = random_next(&random) % kWindow;
    slot_renew(&live[at], random_small_size(&random), (char)at);
    sum += live[at].size;
  }
  report_checksum(sum);
  return 0;
}
