/* fork_live <mib>: a process with so many MiB live forks, like a database that writes a snapshot. Prints, as parts in
 * ten thousand of what is live, the memory that is copied: while neither does anything, when the child has freed one
 * block in a hundred, and when the parent has replaced as many. Always: both have all blocks with their bytes. */
#include "check.h"
#include <sys/wait.h>

enum { kMost = 1000000 };
static size_t *blocks[kMost], sizes[kMost];
static long count;

static long private_kib(void) { return rollup_kib("Private_Dirty:"); }

static void make(long i, size_t size) {
  LAW((blocks[i] = malloc(size)), "malloc(%zu)", size);
  sizes[i] = size;
  for (size_t at = 0; at < size / 8; at += 512) blocks[i][at] = size + at;
}

static void check_all(long step) {
  for (long i = 0; i < count; i++) {
    if (step && i % step == 0) continue;
    for (size_t at = 0; at < sizes[i] / 8; at += 512) LAW(blocks[i][at] == sizes[i] + at, "block %ld has changed", i);
  }
}

static void tell(int to, long value) { LAW(write(to, &value, sizeof value) == sizeof value, "a pipe is closed"); }
static long hear(int from) {
  long value;
  LAW(read(from, &value, sizeof value) == sizeof value, "a pipe is closed");
  return value;
}

static void child_main(int from, int to) {
  alarm(60);
  long before = private_kib();
  tell(to, before);
  hear(from);
  for (long i = 0; i < count; i += 100) free(blocks[i]);
  tell(to, private_kib() - before);
  hear(from);
  check_all(100);
  _exit(0);
}

int main(int argc, char** argv) {
  LAW(argc == 2, "usage");
  size_t total = strtoul(argv[1], NULL, 10) * MIB, live = 0;
  uint64_t state = 7;
  memset(blocks, 1, sizeof blocks);
  memset(sizes, 1, sizeof sizes);
  for (; live < total && count < kMost; count++) {
    size_t size = 512 + random_next(&state) % 6000;
    make(count, size);
    live += size;
  }
  int to_child[2], to_parent[2];
  LAW(pipe(to_child) == 0 && pipe(to_parent) == 0, "no pipes");
  pid_t child = fork();
  if (child == 0) child_main(to_child[0], to_parent[1]);
  long idle_child = hear(to_parent[0]), idle_parent = private_kib();
  tell(to_child[1], 0);
  long freed = hear(to_parent[0]), before = private_kib();
  for (long i = 50; i < count; i += 100) {
    free(blocks[i]);
    make(i, sizes[i]);
  }
  long replaced = private_kib() - before;
  tell(to_child[1], 0);
  int status = -1;
  LAW(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
  check_all(0);
  long unit = (long)(live / KIB) / 10000;
  printf("%ld %ld %ld\n", (idle_child + idle_parent) / unit, freed / unit, replaced / unit);
  return 0;
}
