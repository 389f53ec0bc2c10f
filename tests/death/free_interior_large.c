/* free of a pointer into a block of several slices.
 *
 * Always holds: prints the pointer, misuses it twice, and prints "alive" if it gets that far.
 */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  char *block = malloc(1000000);
  void *p = block + 65536;
  printf("%p\n", p);
  fflush(stdout);
  free(p);
  free(p);
  puts("alive");
  return 0;
}
