/* Stands for long-running programs whose sizes drift: of each phase's blocks one in twenty survives for long.
 *
 * A phase allocates 64 MiB around a size of its own and frees all but one block in twenty, which live for
 * sixteen phases. Figures: resident/live after the last phases (the mean of the last quarter), and that relative
 * to the quarter before.
 */
#include "probe.h"

enum { kPhases = 160, kLife = 16, kMost = 1000000, kKept = kMost / 16 };
static Slot slots[kMost];
static Slot kept[kLife][kKept];

int main(int argc, char** argv) {
  long bytes = share(64L << 20, argument(argc, argv, 1, 100));
  uint64_t random = 88172645463325252u;
  double base = 0, ratios[4] = {0};
  touch(slots, sizeof slots);
  touch(kept, sizeof kept);
  base = resident_mib();
  probe_start();
  for (int phase = 0; phase < kPhases; phase++) {
    Slot* old = kept[phase % kLife];
    for (int i = 0; i < kKept && old[i].block != NULL; i++) {
      live_add(-(long)old[i].size);
      slot_end(&old[i], (char)i);
      old[i].block = NULL;
    }
    size_t typical = (size_t)64 << (unsigned)phase * 7 % 9;
    typical += typical * ((unsigned)phase * 37 % 64) / 64;
    long total = 0, count = 0, survivors = 0;
    for (; total < bytes && count < kMost; count++) {
      slot_renew(&slots[count], typical / 2 + random_next(&random) % typical, (char)count);
      total += (long)slots[count].size;
    }
    live_add(total);
    for (long i = 0; i < count; i++) {
      Slot* slot = &slots[i];
      if (random_next(&random) % 20 == 0 && survivors < kKept) {
        block_mark(slot->block, slot->size, (char)survivors);
        old[survivors++] = *slot;
      } else {
        live_add(-(long)slot->size);
        slot_end(slot, (char)i);
      }
      slot->block = NULL;
    }
    if (phase >= kLife) ratios[phase * 4 / kPhases] += (resident_mib() - base) * 1048576 / (double)probe_live;
  }
  figure("resident_per_live", ratios[3] / (kPhases / 4));
  figure("growth", ratios[3] / ratios[2]);
  return 0;
}
