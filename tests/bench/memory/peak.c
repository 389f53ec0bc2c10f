/* Stands for a job that needs much memory once: a gigabyte of blocks of 16 bytes to 8 KiB, filled and freed.
 *
 * Figures: seconds to fill and to free, MiB resident right after, and 3 seconds of a little work later.
 */
#include "probe.h"

enum { kMost = 2000000 };
static Slot slots[kMost];

int main(int argc, char** argv) {
  long bytes = share(1L << 30, argument(argc, argv, 1, 100));
  uint64_t random = 88172645463325252u;
  touch(slots, sizeof slots);
  double base = resident_mib();
  probe_start();
  double start = now_s();
  long count = fill(slots, kMost, bytes, &random);
  figure("fill_s", now_s() - start);
  start = now_s();
  drain(slots, count);
  figure("free_s", now_s() - start);
  figure("after_mib", resident_mib() - base);
  linger(3000);
  figure("later_mib", resident_mib() - base);
  return 0;
}
