/* free of a block whose mapping is gone.
 *
 * Always holds: prints the pointer, misuses it twice, and prints "alive" if it gets that far.
 */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  void *p = malloc(200000000);
  free(p);
  printf("%p\n", p);
  fflush(stdout);
  free(p);
  free(p);
  puts("alive");
  return 0;
}
