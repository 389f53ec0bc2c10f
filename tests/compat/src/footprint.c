/* A small program's footprint: after a few blocks it prints its address space in KiB and its number of threads.
 * Always: the blocks are usable; it prints nothing else. */
#include "check.h"

int main(void) {
  exercise_heap();
  printf("%ld %ld\n", status_field("VmSize:"), status_field("Threads:"));
  return 0;
}
