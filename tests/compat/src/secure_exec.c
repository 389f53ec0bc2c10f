/* A program that is started with AT_SECURE and gives the allocator an invalid pointer.
 * Always: it lives on, because options of the environment, such as abort, are not those of the one who runs it. */
#include "check.h"
#include <sys/auxv.h>

int main(void) {
  static char bss[256];
  LAW(getauxval(AT_SECURE), "not started with AT_SECURE");
  free(opaque(bss + 64));
  exercise_heap();
  return write(STDOUT_FILENO, "lived on\n", 9) == 9 ? 0 : 1;
}
