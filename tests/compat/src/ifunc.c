/* A program with an indirect function, so that its resolver runs while relocations are being made, before any constructor.
 * Always: the resolver may call memcpy (unless NO_CALLS) and, with RESOLVER_MALLOC, the allocator; the program then runs. */
#include "check.h"

#ifndef NO_CALLS
static char copied[64];
#endif
static void *early;

static int chosen(int value) { return value + 1; }

static int (*resolve(void))(int) {
#ifndef NO_CALLS
  char *source = opaque((void *)"copied at relocation");
  memcpy(copied, source, opaque_n(21));
#endif
#ifdef RESOLVER_MALLOC
  early = malloc(opaque_n(100));
  if (early) memset(early, 7, 100);
#endif
  return chosen;
}

int indirect(int value) __attribute__((ifunc("resolve")));

int main(void) {
  LAW(indirect(41) == 42, "the indirect function");
#ifndef NO_CALLS
  LAW(strcmp(copied, "copied at relocation") == 0, "memcpy at relocation copied '%s'", copied);
#endif
#ifdef RESOLVER_MALLOC
  LAW(early && ((char *)early)[99] == 7 && malloc_usable_size(early) >= 100, "the resolver's block");
#endif
  free(early);
  exercise_heap();
  return 0;
}
