/* deep_binding <library>: a library is loaded with RTLD_DEEPBIND, as php loads its extensions; blocks go to and fro between it and
 * the program. By its name alone it is found where the program's own run path leads, as if libc's dlopen had been called. */
#include "check.h"

int main(int argc, char **argv) {
  LAW(argc > 1, "which library?");
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  LAW(library, "%s", dlerror());
  void (*release)(void *) = (void (*)(void *))dlsym(library, "release");
  void *(*obtain)(size_t) = (void *(*)(size_t))dlsym(library, "obtain");
  void *(*grow)(void *, size_t) = (void *(*)(void *, size_t))dlsym(library, "grow");
  LAW(release && obtain && grow, "%s", dlerror());
  for (size_t size = 1; size < 3 * MIB; size = size * 3 + 1) {
    char *block = malloc(size), *other = obtain(size);
    LAW(block && other, "no memory");
    fill(block, size, 3);
    block = grow(block, 2 * size);
    LAW(block && filled(block, size, 3), "lost");
    release(block);
    other = realloc(other, 2 * size);
    LAW(other && malloc_usable_size(other) >= 2 * size, "not ours");
    free(other);
  }
  LAW(!dlopen("no-such-library.so", RTLD_NOW | RTLD_DEEPBIND) && dlerror(), "found what there is not");
  return 0;
}
