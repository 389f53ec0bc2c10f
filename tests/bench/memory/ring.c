/* Stands for loaders and loggers: one thread hands 20 million blocks of 16 to 1016 bytes to another.
 *
 * Figures: million blocks per second, peak resident MiB.
 */
#include "probe.h"

enum { kSlots = 4096, kBatch = 64 };

static char* ring[kSlots];
static _Alignas(64) unsigned long made;
static _Alignas(64) unsigned long freed;
static unsigned long count;

static void* free_all(void* unused) {
  for (unsigned long mine = 0; mine < count;) {
    unsigned long theirs = __atomic_load_n(&made, __ATOMIC_ACQUIRE);
    while (mine < theirs) free(ring[mine++ % kSlots]);
    __atomic_store_n(&freed, mine, __ATOMIC_RELEASE);
  }
  return unused;
}

int main(int argc, char** argv) {
  count = (unsigned long)share(20000000 / kBatch, argument(argc, argv, 1, 100)) * kBatch;
  probe_start();
  double start = now_s();
  pthread_t consumer;
  pthread_create(&consumer, NULL, free_all, NULL);
  uint64_t random = 88172645463325252u;
  for (unsigned long mine = 0; mine < count;) {
    if (mine - __atomic_load_n(&freed, __ATOMIC_ACQUIRE) > kSlots - kBatch) continue;
    for (int i = 0; i < kBatch; i++) {
      char* block = malloc(16 + random_next(&random) % 1001);
      if (block == NULL) fail("no memory");
      block[0] = 1;
      ring[mine++ % kSlots] = block;
    }
    __atomic_store_n(&made, mine, __ATOMIC_RELEASE);
  }
  pthread_join(consumer, NULL);
  figure("million_per_s", (double)count / (now_s() - start) / 1e6);
  figure("peak_mib", (double)field_kib("/proc/self/status", "VmHWM:") / 1024);
  return 0;
}
