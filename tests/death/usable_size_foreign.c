/* malloc_usable_size of a stack address: 0.
 *
 * Always holds: prints the pointer, misuses it twice, and prints "alive" if it gets that far.
 */
#include <malloc.h>
#include <stdio.h>

int main(void) {
  char block[64];
  printf("%p\n", block);
  fflush(stdout);
  for (int i = 0; i < 2; i++) {
    if (malloc_usable_size(block) != 0) return 3;
  }
  puts("alive");
  return 0;
}
