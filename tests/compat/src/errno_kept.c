/* errno_kept <plain|eperm|enomem|einval|mlock|maps>: frees blocks of every class by every function, while giving memory
 * back fails. Always: errno is 12345 before and after each free; the heap stays sound: no overlap, calloc zero. */
#include "sandbox.h"
#include <sys/mman.h>

void cfree(void *) __attribute__((weak));
void operator_delete(void *) __asm__("_ZdlPv") __attribute__((weak));
void operator_delete_array(void *) __asm__("_ZdaPv") __attribute__((weak));
void operator_delete_sized(void *, size_t) __asm__("_ZdlPvm") __attribute__((weak));
void operator_delete_aligned(void *, size_t) __asm__("_ZdlPvSt11align_val_t") __attribute__((weak));

static void free_by(int function, void *block, size_t size) {
  errno = 12345;
  if (function == 1 && operator_delete) operator_delete(block);
  else if (function == 2 && free_sized) free_sized(block, size);
  else if (function == 3 && operator_delete_sized) operator_delete_sized(block, size);
  else if (function == 4 && operator_delete_array) operator_delete_array(block);
  else if (function == 5 && cfree) cfree(block);
  else if (function == 6 && operator_delete_aligned) operator_delete_aligned(block, 64);
  else if (function == 7 && free_aligned_sized) free_aligned_sized(block, 64, size);
  else free(block);
  LAW(errno == 12345, "function %d on %zu bytes changed errno to %d", function, size, errno);
}

static void *made_for(int function, size_t size, int zeroed) {
  if (function >= 6) return aligned_alloc(64, size);
  if (!zeroed) return malloc(size);
  void *block = calloc(1, size);
  LAW(!block || all_zero(block, size), "calloc of %zu is not zero", size);
  return block;
}

/* Waves of many blocks, freed in three orders, so that whole pools, slices and chunks become empty. */
static void waves(size_t size, int count) {
  static struct { void *block; int function; } live[4000];
  for (int round = 0; round < 3; round++) {
    int made = 0;
    for (; made < count; made++) {
      live[made].function = made % 8;
      live[made].block = made_for(made % 8, size, round == 2);
      if (!live[made].block) break;
      fill_some(live[made].block, size, made);
    }
    for (int i = 0; i < made; i++) {
      /* forwards, backwards, then the even ones before the odd ones */
      int evens = (made + 1) / 2;
      int which = round == 0 ? i : round == 1 ? made - 1 - i : i < evens ? 2 * i : 2 * (i - evens) + 1;
      LAW(filled_some(live[which].block, size, which), "blocks of %zu bytes overlap", size);
      free_by(live[which].function, live[which].block, size);
    }
    errno = 12345;
  }
}

static void use_up_mappings(void) {
  /* Alternating protections cannot be merged: every second page is a mapping of its own. */
  size_t pages = 70000;
  char *area = mmap(NULL, pages * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  LAW(area != MAP_FAILED, "mmap");
  for (size_t i = 0; i < pages; i += 2)
    if (mprotect(area + i * 4096, 4096, PROT_READ) != 0) {
      LAW(errno == ENOMEM, "mprotect: %s", strerror(errno));
      return;
    }
  LAW(0, "the limit of mappings was not reached");
}

static void *other_thread(void *unused) {
  waves(100, 1000);
  waves(100000, 20);
  return unused;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  static const int give_back[] = {SYS_madvise, SYS_munmap};
  const char *mode = argv[1];
  /* Memory from before the failures begin, so that there is something to give back. */
  waves(1000, 4000);
  waves(300000, 100);
  static void *before[200];
  for (int i = 0; i < 200; i++) fill_some(before[i] = malloc(200000), 200000, i);
  pthread_t thread;
  start_thread(&thread, other_thread, NULL);  /* a thread's first use of its stack is not what is tested */
  pthread_join(thread, NULL);
  if (strcmp(mode, "eperm") == 0) sandbox(give_back, 2, EPERM, 0);
  if (strcmp(mode, "enomem") == 0) sandbox(give_back, 2, ENOMEM, 0);
  if (strcmp(mode, "einval") == 0) sandbox(give_back, 2, EINVAL, 0);
  if (strcmp(mode, "mlock") == 0) LAW(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall: %s", strerror(errno));
  if (strcmp(mode, "maps") == 0) use_up_mappings();
  for (int i = 0; i < 200; i++) {
    LAW(filled_some(before[i], 200000, i), "an old block has changed");
    free_by(i % 6, before[i], 200000);
  }
  for (size_t size = 1; size < 40 * MIB; size += size / 4 + 1)
    waves(size, size < 2000 ? 2000 : size < 100000 ? 200 : size < 2 * MIB ? 20 : 4);
  errno = 12345;
  free(NULL);
  LAW(errno == 12345, "free(NULL) changed errno");
  malloc_trim(0);
  if (strcmp(mode, "maps") != 0) {
    start_thread(&thread, other_thread, NULL);
    pthread_join(thread, NULL);
  }
  return 0;
}
