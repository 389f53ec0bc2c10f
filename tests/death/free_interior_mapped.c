/* free of a pointer into a block that has a mapping of its own.
 *
 * Always holds: prints the pointer, misuses it twice, and prints "alive" if it gets that far.
 */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  char *block = malloc(200000000);
  void *p = block + 4194304;
  printf("%p\n", p);
  fflush(stdout);
  free(p);
  free(p);
  puts("alive");
  return 0;
}
