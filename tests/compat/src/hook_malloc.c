/* A preloaded library that stands before the allocator, counts calls and passes them on, found by dlsym(RTLD_NEXT).
 * Always: all are looked up at the first call; a call that arrives during this search is a recursion unless it is calloc,
 * which is served from a static buffer as such libraries do. With MALLOC_ONLY only malloc is interposed. */
#include "check.h"

long hook_calls;
static volatile int searching;

static struct {
  void *(*malloc)(size_t);
#ifndef MALLOC_ONLY
  void *(*calloc)(size_t, size_t);
  void *(*realloc)(void *, size_t);
  void (*free)(void *);
#endif
} next;

static void find(void *function, const char *name) {
  *(void **)function = dlsym(RTLD_NEXT, name);
  LAW(*(void **)function, "dlsym(RTLD_NEXT, \"%s\") found nothing", name);
}

static void count_call(const char *name) {
  __atomic_add_fetch(&hook_calls, 1, __ATOMIC_RELAXED);
  LAW(!searching, "%s called during dlsym: recursion", name);
  if (next.malloc) return;
  searching = 1;
#ifndef MALLOC_ONLY
  find(&next.calloc, "calloc");
  find(&next.realloc, "realloc");
  find(&next.free, "free");
#endif
  find(&next.malloc, "malloc");
  searching = 0;
}

void *malloc(size_t size) {
  count_call(__func__);
  return next.malloc(size);
}

#ifndef MALLOC_ONLY
static char early[4096];
static size_t early_used;

static void *early_block(size_t size) {
  void *block = early + early_used;
  early_used += (size + 15) & ~(size_t)15;
  LAW(early_used <= sizeof early, "dlsym allocates without an end");
  return block;
}

static int is_early(void *block) { return (char *)block >= early && (char *)block < early + sizeof early; }

void *calloc(size_t count, size_t size) {
  if (searching) return early_block(count * size);
  count_call(__func__);
  return next.calloc(count, size);
}

void *realloc(void *block, size_t size) {
  LAW(!is_early(block), "realloc of an early block");
  count_call(__func__);
  return next.realloc(block, size);
}

void free(void *block) {
  if (is_early(block)) return;
  count_call(__func__);
  next.free(block);
}
#endif
