/* Stands for pre-forking servers: a parent with 512 MiB, 200 children that free a hundredth of it and exit.
 *
 * Figures: the parent's private memory afterwards relative to before, seconds for all.
 */
#include <sys/wait.h>

#include "probe.h"

enum { kMost = 1000000, kChildren = 200 };
static Slot slots[kMost];

static double private_kib(void) {
  return (double)field_kib("/proc/self/smaps_rollup", "Private_Dirty:") +
         (double)field_kib("/proc/self/smaps_rollup", "Private_Clean:");
}

int main(int argc, char** argv) {
  long percent = argument(argc, argv, 1, 100);
  long children = share(kChildren, percent);
  uint64_t random = 88172645463325252u;
  probe_start();
  long count = fill(slots, kMost, share(512L << 20, percent), &random);
  double before = private_kib(), start = now_s();
  for (long i = 0; i < children; i++) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      for (long freed = 0; freed < count / 100; freed++) {
        long at = (long)(random_next(&random) % (uint64_t)count);
        slot_end(&slots[at], (char)at);
        slots[at].block = NULL;
      }
      _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) fail("a child failed");
    random_next(&random);
  }
  figure("all_s", now_s() - start);
  figure("growth", private_kib() / before);
  return 0;
}
