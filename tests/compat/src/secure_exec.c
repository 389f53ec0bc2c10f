/* A program that is started with AT_SECURE and gives the allocator an invalid pointer.
 * Always: it lives on, because options of the environment, such as abort, are not those of the one who runs it. */
#include "check.h"
#include <sys/auxv.h>

int main(void) {
  LAW(getauxval(AT_SECURE), "not started with AT_SECURE");
  free(foreign_pointer());
  exercise_heap();
  return write(STDOUT_FILENO, "lived on\n", 9) == 9 ? 0 : 1;
}
