/* drift <days> <churn>: a cache whose sizes drift like a service's over days; one block in a hundred survives for two
 * days, the others until another one takes their place. A day has 24 phases; in each so many blocks are replaced, per
 * cent of the cache. Prints, as 1000 times what is resident relative to what is live, the means of the third and of the
 * last quarter of the run. Always: blocks keep their first and last words. */
#include "check.h"

enum { kCache = 200000, kPhases = 24, kSurvivors = 200000 };
typedef struct Slot {
  size_t *block, size;
} Slot;
static Slot cache[kCache];
static Slot survivors[kSurvivors]; /* a ring: those of the oldest phase first */
static long first, next, ends[2 * kPhases];
static size_t live;

static Slot made(size_t size) {
  Slot slot = {malloc(size), size};
  LAW(slot.block, "malloc(%zu)", size);
  for (size_t at = 0; at < size; at += 4096) slot.block[at / 8] = size;
  slot.block[size / 8 - 1] = ~size;
  live += size;
  return slot;
}

static void ended(Slot* slot) {
  if (!slot->block) return;
  LAW(slot->block[0] == slot->size && slot->block[slot->size / 8 - 1] == ~slot->size,
      "a block of %zu bytes has changed", slot->size);
  live -= slot->size;
  free(slot->block);
  slot->block = NULL;
}

/* By day sizes are larger than by night, and each of four days has another mixture. */
static size_t typical_size(long phase) {
  static const unsigned by_hour[] = {5, 4, 4, 3, 4, 5, 7, 9, 12, 13, 12, 9}, by_day[] = {0, 85, 17, 51};
  return 30 * by_hour[phase % kPhases / 2] + by_day[phase / kPhases % 4];
}

int main(int argc, char** argv) {
  LAW(argc == 3, "usage");
  long phases = atol(argv[1]) * kPhases, replaced = kCache / 100 * atol(argv[2]);
  uint64_t state = 3;
  double sums[4] = {0};
  memset(cache, 0, sizeof cache);
  memset(survivors, 1, sizeof survivors);
  memset(survivors, 0, sizeof survivors);
  long before = rss_kib();
  for (long phase = 0; phase < phases; phase++) {
    size_t typical = typical_size(phase);
    for (; first < ends[phase % (2 * kPhases)]; first++) ended(&survivors[first % kSurvivors]);
    for (long i = 0; i < replaced; i++) {
      size_t size = 16 + (typical / 2 + random_next(&state) % typical) / 8 * 8;
      if (random_next(&state) % 200 == 0) size *= 20;
      Slot* slot = &cache[random_next(&state) % kCache];
      ended(slot);
      *slot = made(size);
      if (i % 100 == 0) survivors[next++ % kSurvivors] = made(size);
    }
    LAW(next - first < kSurvivors, "too many survivors");
    ends[phase % (2 * kPhases)] = next;
    sums[phase * 4 / phases] += (double)(rss_kib() - before) * 1024 / (double)live;
  }
  double per_quarter = (double)phases / 4 / 1000;
  printf("%.0f %.0f\n", sums[2] / per_quarter, sums[3] / per_quarter);
  return 0;
}
