/* A block freed twice while its pool is in use: the checking builds find it at the next slow path. */
#include <stdlib.h>

int main(void) {
  void *a = malloc(100);
  void *b = malloc(100);
  free(a);
  free(b);
  free(a);
  for (int i = 0; i < 1000; i++) malloc(200);
  return 0;
}
