/* A tool that stands before the allocator, as heap profilers do: counts the calls of malloc and free by their public names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

long counted_mallocs, counted_frees;

void *malloc(size_t size) {
  static void *(*next)(size_t);
  if (!next) *(void **)&next = dlsym(RTLD_NEXT, "malloc");
  counted_mallocs++;
  return next(size);
}

void free(void *block) {
  static void (*next)(void *);
  if (!next) *(void **)&next = dlsym(RTLD_NEXT, "free");
  counted_frees += block != NULL;
  next(block);
}
