/* A program with one thread enters a user namespace, which the kernel refuses to a process with several.
 * Always: after malloc of every size it succeeds; exit 77 means that this system forbids it to every program. */
#include "check.h"
#include <sched.h>

int main(void) {
  exercise_heap();
  malloc_trim(0);
  LAW(status_field("Threads:") == 1, "%ld threads", status_field("Threads:"));
  if (unshare(CLONE_NEWUSER) != 0) {
    LAW(errno != EINVAL, "unshare(CLONE_NEWUSER): the process is not single-threaded");
    return 77;
  }
  exercise_heap();
  return 0;
}
