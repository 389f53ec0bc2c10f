/* A library with 64 KiB of dynamic thread-local storage, which the dynamic loader allocates per thread by malloc and frees
 * when the thread ends. Always: a thread sees its own zeroed copy. */
#include "check.h"

static __thread unsigned char area[65536];

int tls_used(unsigned seed) {
  if (!all_zero(area, sizeof area)) return 0;
  fill_some(area, sizeof area, seed);
  return filled_some(area, sizeof area, seed);
}
