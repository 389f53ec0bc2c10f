/* Stands for image, video and database programs: 3000 touched buffers of 256 KiB to 16 MiB, two dozen alive.
 *
 * Figures: seconds for all, MiB resident when the last is freed, and 3 seconds of a little work later.
 */
#include "probe.h"

enum { kBuffers = 3000, kAlive = 24 };
static Slot window[kAlive];

int main(int argc, char** argv) {
  long count = share(kBuffers, argument(argc, argv, 1, 100));
  uint64_t random = 88172645463325252u;
  double base = resident_mib();
  probe_start();
  double start = now_s();
  for (long i = 0; i < count; i++) {
    Slot* slot = &window[random_next(&random) % kAlive];
    size_t size = (size_t)(262144 << random_next(&random) % 6) + random_next(&random) % 262144 * 32;
    if (size > 16 << 20) size = 16 << 20;
    live_add((long)size - (long)slot->size);
    slot_renew(slot, size, 1);
  }
  figure("all_s", now_s() - start);
  for (int i = 0; i < kAlive; i++) slot_end(&window[i], 1);
  probe_live = 0;
  figure("after_mib", resident_mib() - base);
  linger(3000);
  figure("later_mib", resident_mib() - base);
  return 0;
}
