/* Stands for servers with a thread per client: 300 threads use 1.3 MiB each, free it, and sleep.
 *
 * Figures: MiB resident above the start, when all sleep, and after malloc_trim(0) by the main thread.
 */
#include "probe.h"

enum { kThreads = 300, kMost = 4000 };
static const long kBytes = 1363149;

static void* use_and_sleep(void* argument) {
  uint64_t random = 88172645463325252u + (uintptr_t)argument;
  Slot* slots = calloc(kMost, sizeof *slots);
  long total = 0, count = 0;
  for (; total < kBytes && count < kMost; count++) {
    slot_renew(&slots[count], random_mixed_size(&random), (char)count);
    total += (long)slots[count].size;
    live_add((long)slots[count].size);
  }
  for (long i = 0; i < count; i++) slot_end(&slots[i], (char)i);
  free(slots);
  live_add(-total);
  return sleep_for_ever();
}

int main(int argc, char** argv) {
  long threads = share(kThreads, argument(argc, argv, 1, 100));
  probe_start();
  double base = resident_mib();
  start_sleepers(threads, use_and_sleep);
  sleep_ms(1000);
  figure("asleep_mib", resident_mib() - base);
  malloc_trim(0);
  figure("trimmed_mib", resident_mib() - base);
  sleep_ms(300);
  fflush(stdout);
  _exit(0);
}
