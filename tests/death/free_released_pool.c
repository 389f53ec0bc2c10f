/* free of a block whose pool was given back: all its neighbours were freed.
 *
 * Always holds: prints the pointer, misuses it twice, and prints "alive" if it gets that far.
 */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  void *blocks[100];
  void *kept = malloc(8192);
  for (int i = 0; i < 100; i++) blocks[i] = malloc(8000);
  for (int i = 0; i < 100; i++) free(blocks[i]);
  void *p = blocks[50];
  printf("%p\n", p);
  fflush(stdout);
  free(p);
  free(p);
  puts("alive");
  return 0;
}
