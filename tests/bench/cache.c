/* Stands for caches and proxies: a full cache whose entries' sizes drift while random ones are evicted.
 *
 * The usual size moves from 64 bytes to 8 KiB and back four times; entries are evicted at random until the
 * cache is within its budget again. What was given to one size must serve the others, or memory grows.
 */
#include "common.h"

enum { kEntries = 1 << 19, kBudget = 64 << 20, kInserts = 1000000, kDrifts = 4 };

typedef struct Entry {
  char* block;
  uint32_t size;
} Entry;

static Entry entries[kEntries];
static long count;
static size_t held;

static void evict(long at) {
  block_end(entries[at].block, entries[at].size, (char)entries[at].size);
  held -= entries[at].size;
  entries[at] = entries[--count];
}

/* 64 << 0..7 and up to as much again; up and down once per drift. */
static size_t drifting_size(long insert, long inserts, uint64_t* random) {
  long phase = insert * kDrifts * 14 / inserts % 14;
  size_t usual = (size_t)64 << (phase < 7 ? phase : 14 - phase);
  return usual + random_next(random) % usual;
}

int main(int argc, char** argv) {
  long inserts = share(kInserts, argument(argc, argv, 1, 100));
  uint64_t random = 88172645463325252u, sum = 0;
  for (long i = 0; i < inserts; i++) {
    size_t size = drifting_size(i, inserts, &random);
    while (count > 0 && (held + size > kBudget || count == kEntries))
      evict((long)(random_next(&random) % (uint64_t)count));
    entries[count++] = (Entry){block_make(size, (char)size), (uint32_t)size};
    held += size;
    sum += size;
    Entry* hit = &entries[random_next(&random) % (uint64_t)count];
    block_check(hit->block, hit->size, (char)hit->size);
  }
  while (count > 0) evict(count - 1);
  report_checksum(sum);
  return 0;
}
