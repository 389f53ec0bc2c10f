/* sparse_heap <mib> [child]: a heap of so many MiB in small blocks, of which one in each 2 MiB lives on. Prints, in
 * KiB: what was resident when all was live, what is resident after the rest was freed and some work was done, and of
 * that what is in huge pages. With `child`, prints whether huge pages are forbidden to the program that it starts
 * instead, which is itself. Always: what lives on keeps its bytes. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/wait.h>

static void run_child(char* self) {
  malloc_trim(0);
  int forked = -1;
  pid_t child = fork();
  if (child == 0) _exit(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
  LAW(waitpid(child, &forked, 0) == child && WIFEXITED(forked), "the child ended with %#x", forked);
  LAW(printf("%d ", WEXITSTATUS(forked)) > 0 && fflush(stdout) == 0, "no output");
  execl(self, self, "0", (char*)NULL);
  LAW(0, "exec: %s", strerror(errno));
}

int main(int argc, char** argv) {
  LAW(argc >= 2, "usage");
  size_t total = strtoul(argv[1], NULL, 10) * MIB;
  if (total == 0) {
    printf("%d\n", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    return 0;
  }
  size_t number = 0, per_stretch = 0, sum = 0;
  uint64_t state = 5;
  static unsigned char* blocks[4000000];
  static size_t sizes[4000000];
  for (; sum < total; number++) {
    LAW(number < 4000000, "too many blocks");
    size_t size = 100 + random_next(&state) % 1000;
    blocks[number] = malloc(size);
    sizes[number] = size;
    fill(blocks[number], size, (unsigned)number);
    sum += size;
    if (sum < 2 * MIB) per_stretch = number;
  }
  long full = rollup_kib("Rss:");
  for (size_t i = 0; i < number; i++)
    if (i % per_stretch != 0) free(blocks[i]);
  if (argc > 2) run_child(argv[0]);
  /* A program that goes on working, so that it is seen that nothing else is needed for a while. */
  double end = now_s() + 2;
  while (now_s() < end) {
    void* some[300];
    for (int i = 0; i < 300; i++) some[i] = malloc(random_size(&state, 3000));
    for (int i = 0; i < 300; i++) free(some[i]);
    usleep(2000);
  }
  for (size_t i = 0; i < number; i += per_stretch)
    LAW(filled(blocks[i], sizes[i], (unsigned)i), "block %zu has changed", i);
  printf("%ld %ld %ld\n", full, rollup_kib("Rss:"), rollup_kib("AnonHugePages:"));
  return 0;
}
