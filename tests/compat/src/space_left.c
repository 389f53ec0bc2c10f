/* space_left <mib> <size>: so much address space is left under RLIMIT_AS when the program begins to allocate.
 * Always: more than half of it serves blocks; then NULL and ENOMEM, and after they are freed as much again. */
#include "check.h"
#include <sys/resource.h>

static void **list;

static size_t take_all(size_t size) {
  size_t taken = 0;
  errno = 0;
  for (void **block; (block = malloc(size)); taken += size) {
    *block = list;
    list = block;
  }
  LAW(errno == ENOMEM, "errno %d", errno);
  return taken;
}

static void free_all(void) {
  while (list) {
    void **next = *list;
    free(list);
    list = next;
  }
}

int main(int argc, char **argv) {
  size_t left = (argc > 1 ? (size_t)atol(argv[1]) : 8) << 20, size = argc > 2 ? (size_t)atol(argv[2]) : 100;
  size_t now = (size_t)status_field("VmSize:") << 10;
  struct rlimit limit = {now + left, now + left};
  LAW(setrlimit(RLIMIT_AS, &limit) == 0, "no limit");
  size_t first = take_all(size);
  free_all();
  size_t second = take_all(size);
  free_all();
  LAW(first > left / 2, "%zu KiB of %zu served", first >> 10, left >> 10);
  LAW(second >= first - first / 8, "%zu KiB, and then %zu", first >> 10, second >> 10);
  return 0;
}
