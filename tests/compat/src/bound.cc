// A program linked with -lpoolalloc. Always: whatever the link's order and flags, its allocation functions and those of
// the C library are the tested library's. The C++ runtime's own operators would do, if they reached the library's malloc;
// what is asserted is stronger: the operators are the library's too.
#include "check.h"
#include <new>

static void bound(const char *name) {
  LAW(from_tested_lib(dlsym(RTLD_DEFAULT, name)), "%s is not bound to the tested library", name);
}

int main() {
  static const char *const names[] = {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc",
                                      "malloc_usable_size", "_Znwm", "_Znam", "_ZdlPv", "_ZdlPvm", "_ZdaPv"};
  for (const char *name : names) bound(name);
  // What the program's own calls reach: a block is the library's if it knows its size.
  LAW(malloc_usable_size(opaque(malloc(opaque_n(100)))) >= 100, "malloc's block is not the library's");
  LAW(malloc_usable_size(opaque(operator new(opaque_n(100)))) >= 100, "operator new's block is not the library's");
  char *text = strdup("from the C library");
  LAW(malloc_usable_size(opaque(text)) >= 19, "strdup's block is not the library's");
  free(text);
  exercise_heap();
  return 0;
}
