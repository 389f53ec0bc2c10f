/* Stands for thread pools: 100 threads that have worked off many requests each, while others still run, and sleep.
 *
 * Figures: MiB resident above the start, when all sleep, and after eight seconds of a little work by the main thread.
 */
#include "probe.h"

enum { kThreads = 100, kRequests = 60, kObjects = 400 };

static void* work_and_sleep(void* argument) {
  uint64_t random = 88172645463325252u + (uintptr_t)argument;
  Slot* slots = calloc(kObjects, sizeof *slots);
  for (int request = 0; request < kRequests; request++) {
    long total = 0;
    for (int i = 0; i < kObjects; i++) {
      slot_renew(&slots[i], random_mixed_size(&random), (char)i);
      total += (long)slots[i].size;
    }
    live_add(total);
    for (int i = 0; i < kObjects; i++) slot_end(&slots[i], (char)i), slots[i] = (Slot){NULL, 0};
    live_add(-total);
  }
  free(slots);
  return sleep_for_ever();
}

int main(int argc, char** argv) {
  long threads = share(kThreads, argument(argc, argv, 1, 100));
  probe_start();
  double base = resident_mib();
  start_sleepers(threads, work_and_sleep);
  figure("asleep_mib", resident_mib() - base);
  linger(8000);
  figure("later_mib", resident_mib() - base);
  fflush(stdout);
  _exit(0);
}
