/* locked <must-fit|may-fail>: mlockall(MCL_CURRENT | MCL_FUTURE), under the limit of locked memory that the caller set.
 * Always: requests are met or refused with ENOMEM, and what is locked grows with what is asked for, not with what
 * an allocator reserves. */
#include "check.h"
#include <sys/mman.h>

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  int must_fit = strcmp(argv[1], "must-fit") == 0;
  void *first = malloc(1000);
  int refused = mlockall(MCL_CURRENT | MCL_FUTURE) != 0;
  LAW(!refused || !must_fit, "mlockall: %s", strerror(errno));
  if (refused) LAW(errno == ENOMEM || errno == EPERM || errno == EAGAIN, "mlockall: %s", strerror(errno));
  long before = status_field("VmLck:");
  static void *made[3000];
  for (int i = 0; i < 3000; i++) {
    errno = 0;
    size_t size = 1 + (size_t)i * 13 % 9000;
    made[i] = malloc(size);
    LAW(made[i] || (!must_fit && errno == ENOMEM), "malloc(%zu): errno %d", size, errno);
    if (made[i]) fill_some(made[i], size, i);
  }
  LAW(status_field("VmLck:") - before < 48 * 1024, "%ld KiB locked for 13 MiB", status_field("VmLck:") - before);
  for (int i = 0; i < 3000; i++) {
    size_t size = 1 + (size_t)i * 13 % 9000;
    LAW(!made[i] || filled_some(made[i], size, i), "a block of %zu bytes has changed", size);
    free(made[i]);
  }
  void *large = calloc(1, 20 * MIB);
  LAW(large || !must_fit, "calloc of 20 MiB");
  LAW(!large || all_zero(large, 20 * MIB), "calloc is not zero");
  free(large);
  malloc_trim(0);
  void *again = calloc(1, 5 * MIB);
  LAW(!again || all_zero(again, 5 * MIB), "calloc is not zero after trimming");
  free(again);
  free(first);
  if (must_fit) exercise_heap();
  return 0;
}
