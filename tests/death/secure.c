/* Frees a stack address; says first whether it runs with more rights than its caller (AT_SECURE). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

int main(void) {
  char block[64];
  printf("%lu %p\n", getauxval(AT_SECURE), block);
  fflush(stdout);
  free(block);
  return 0;
}
