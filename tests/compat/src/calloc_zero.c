/* calloc_zero <plain|trim|mlock|mlock-future|threads>: blocks of every class are dirtied and freed, then asked for by calloc.
 * Always: calloc's memory is zero, also when pages were given back in between, when they cannot be given back because
 * they are locked, and when another thread dirtied them. */
#include "check.h"
#include <sys/mman.h>

static const char *mode;

static void dirty(void *block, size_t size) {
  LAW(block, "no block of %zu bytes", size);
  memset(block, 0xaa, malloc_usable_size(block));
}

static size_t next_size(size_t size) { return size < 1200 ? size + 8 : size + size / 9; }

static int blocks_of(size_t size) { return size < 4096 ? 300 : size < MIB ? 20 : 3; }

/* Dirties and frees blocks of the size, in an order that leaves partly used neighbours. */
static void soil(size_t size) {
  void *made[300];
  int count = blocks_of(size);
  for (int i = 0; i < count; i++) dirty(made[i] = malloc(size), size);
  for (int i = 0; i < count; i += 2) free(made[i]);
  for (int i = 1; i < count; i += 2) free(made[i]);
}

static void clean(size_t size) {
  void *made[300];
  int count = blocks_of(size);
  for (int i = 0; i < count; i++) {
    made[i] = i % 2 ? calloc(1, size) : calloc(size, 1);
    LAW(made[i] && all_zero(made[i], size), "calloc of %zu bytes is not zero", size);
    dirty(made[i], size);
  }
  for (int i = 0; i < count; i++) free(made[i]);
}

static void *soil_all(void *unused) {
  for (size_t size = 1; size < 12 * MIB; size = next_size(size)) soil(size);
  return unused;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  mode = argv[1];
  if (strcmp(mode, "mlock") == 0) soil_all(NULL);
  if (strncmp(mode, "mlock", 5) == 0) {
    int flags = strcmp(mode, "mlock") == 0 ? MCL_CURRENT : MCL_CURRENT | MCL_FUTURE;
    LAW(mlockall(flags) == 0, "mlockall: %s", strerror(errno));
  }
  for (int round = 0; round < 2; round++) {
    for (size_t size = 1; size < 12 * MIB; size = next_size(size)) {
      soil(size);
      if (strcmp(mode, "trim") == 0 && size > 256) malloc_trim(0);
      clean(size);
    }
    /* The same with all classes dirtied first, so that memory changes its class. */
    soil_all(NULL);
    if (strcmp(mode, "plain") != 0) malloc_trim(0);
    for (size_t size = 12 * MIB; size > 1; size -= size / 10 + 1) clean(size);
    if (strcmp(mode, "threads") == 0) {
      pthread_t thread[4];
      for (int i = 0; i < 4; i++) start_thread(&thread[i], soil_all, NULL);
      for (size_t size = 1; size < 12 * MIB; size = next_size(size)) clean(size);
      for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    }
  }
  /* Large blocks that were grown in place over dirty memory. */
  for (size_t size = 100 * KIB; size < 64 * MIB; size *= 2) {
    void *block = malloc(size);
    dirty(block, size);
    block = realloc(block, size / 4);
    clean(size / 2);
    block = realloc(block, size);
    dirty(block, size);
    free(block);
    clean(size);
  }
  return 0;
}
