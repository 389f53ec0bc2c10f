/* free of a stack address, 250 times.
 *
 * Always holds: prints the pointer, and "alive" if it gets that far.
 */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  char block[64] __attribute__((aligned(16)));
  printf("%p\n", block);
  fflush(stdout);
  for (int i = 0; i < 250; i++) free(block);
  puts("alive");
  return 0;
}
