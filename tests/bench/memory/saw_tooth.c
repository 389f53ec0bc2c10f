/* Stands for batch work: a gigabyte of blocks is filled and freed, twenty times.
 *
 * Figures: seconds for one time from the third on (the median), MiB resident 3 seconds after the last.
 */
#include "probe.h"

enum { kMost = 2000000, kRounds = 20, kFirst = 2 };
static Slot slots[kMost];

static int by_value(const void* a, const void* b) {
  double difference = *(const double*)a - *(const double*)b;
  return (difference > 0) - (difference < 0);
}

int main(int argc, char** argv) {
  long bytes = share(1L << 30, argument(argc, argv, 1, 100));
  double seconds[kRounds];
  touch(slots, sizeof slots);
  double base = resident_mib();
  probe_start();
  for (int round = 0; round < kRounds; round++) {
    uint64_t random = 88172645463325252u + (unsigned)round;
    double start = now_s();
    drain(slots, fill(slots, kMost, bytes, &random));
    seconds[round] = now_s() - start;
  }
  qsort(seconds + kFirst, kRounds - kFirst, sizeof *seconds, by_value);
  figure("round_s", seconds[kFirst + (kRounds - kFirst) / 2]);
  linger(3000);
  figure("later_mib", resident_mib() - base);
  return 0;
}
