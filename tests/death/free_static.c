/* free of a static object.
 *
 * Always holds: prints the pointer, misuses it twice, and prints "alive" if it gets that far.
 */
#include <stdio.h>
#include <stdlib.h>

static char block[64];

int main(void) {
  void *p = block;
  printf("%p\n", p);
  fflush(stdout);
  free(p);
  free(p);
  puts("alive");
  return 0;
}
