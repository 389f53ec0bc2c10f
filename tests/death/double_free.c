/* A block freed twice, and another one in between.
 *
 * Always holds: prints the pointer, misuses it twice, and prints "alive" if it gets that far.
 */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  void *a = malloc(100);
  void *b = malloc(100);
  printf("%p\n", a);
  fflush(stdout);
  free(a);
  free(b);
  free(a);
  free(a);
  for (int i = 0; i < 1000; i++) malloc(100);
  puts("alive");
  return 0;
}
