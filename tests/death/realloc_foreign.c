/* realloc of a static object: refused with EINVAL, its bytes stay.
 *
 * Always holds: prints the pointer, misuses it twice, and prints "alive" if it gets that far.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static char block[64] = "kept";

int main(void) {
  printf("%p\n", block);
  fflush(stdout);
  for (int i = 0; i < 2; i++) {
    errno = 0;
    if (realloc(block, 100) != NULL || errno != EINVAL || block[0] != 'k') return 3;
  }
  puts("alive");
  return 0;
}
