/* refused <plain|mremap|munmap|madvise|mprotect|all|split|locked|maps|no-maps> <error>: large and small blocks come,
 * grow, shrink and go while the kernel refuses a call of that name; or refuses to move a block because the program has
 * made a page of it read-only or has locked it; or to unmap, because the program has as many mappings as it may have,
 * until it gives some up (no-maps: the same when it has few). Prints what is mapped and what is resident beyond the
 * start, in MiB, when all has been freed and malloc_trim(0) was called. Always: every request is met; blocks keep their
 * bytes, and calloc's are zero. */
#include "sandbox.h"
#include <sys/mman.h>

static const char* mode;
static uint64_t state = 9;

static void change_page(unsigned char* block, size_t size, int to_normal) {
  unsigned char* page = (unsigned char*)(((uintptr_t)block + size / 2) & ~(uintptr_t)4095);
  if (strcmp(mode, "split") == 0)
    LAW(!mprotect(page, 4096, to_normal ? PROT_READ | PROT_WRITE : PROT_READ), "mprotect");
  if (strcmp(mode, "locked") == 0) LAW(!(to_normal ? munlock(page, 4096) : mlock(page, 4096)), "mlock");
}

/* One block that grows to four times its size, shrinks to a half of that, and goes. */
static void resize_one(size_t size) {
  unsigned char* block = calloc(1, size);
  LAW(block, "no block of %zu bytes", size);
  for (size_t i = 0; i < size; i = next_place(i, size)) LAW(block[i] == 0, "byte %zu of calloc(1, %zu)", i, size);
  fill_some(block, size, 1);
  unsigned char* page = (unsigned char*)(((uintptr_t)block + size / 2) & ~(uintptr_t)4095);
  change_page(block, size, 0);
  unsigned char* grown = realloc(block, 4 * size);
  LAW(grown && filled_some(grown, size, 1), "growing from %zu lost bytes", size);
  /* What the page was moved to, or where it was: the program takes care of both. */
  if (strcmp(mode, "split") == 0) {
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
    change_page(grown, size, 1);
  }
  fill_some(grown, 4 * size, 2);
  block = realloc(grown, 2 * size);
  LAW(block && block[0] == pattern_at(0, 2) && block[63] == pattern_at(63, 2), "shrinking to %zu lost bytes", 2 * size);
  free(block);
}

static void round_of_all(void) {
  static void* small[5000];
  for (int i = 0; i < 5000; i++) fill_some(small[i] = malloc(500 + (size_t)i), 500 + (size_t)i, (unsigned)i);
  for (size_t size = 150 * KIB; size < 80 * MIB; size = size * 3 + 4096 * (random_next(&state) % 7)) resize_one(size);
  for (int i = 0; i < 5000; i++) {
    LAW(filled_some(small[i], 500 + (size_t)i, (unsigned)i), "a block of %d bytes has changed", 500 + i);
    free(small[i]);
  }
  malloc_trim(0);
}

static char* use_up_mappings(long* used, long most) {
  char* area = mmap(NULL, (size_t)most * 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  LAW(area != MAP_FAILED, "no room");
  for (*used = 0; *used < most && mprotect(area + *used * 8192, 4096, PROT_READ) == 0;) ++*used;
  if (*used == most) exit(77);
  return area;
}

static void mappings_used_up(void) {
  static void* blocks[40];
  long used;
  for (int i = 0; i < 40; i++) fill_some(blocks[i] = malloc(20 * MIB), 20 * MIB, (unsigned)i);
  char* area = strcmp(mode, "maps") == 0 ? use_up_mappings(&used, 200000) : NULL;
  const long resident = rss_kib();
  for (int i = 0; i < 40; i += 2) free(blocks[i]);
  LAW(rss_kib() <= resident + 2048, "frees have made %ld KiB resident", rss_kib() - resident);
  malloc_trim(0);
  if (area) munmap(area, (size_t)200000 * 8192);
  for (int i = 1; i < 40; i += 2) {
    LAW(filled_some(blocks[i], 20 * MIB, (unsigned)i), "block %d has changed", i);
    free(blocks[i]);
  }
}

int main(int argc, char** argv) {
  LAW(argc == 3, "usage");
  static const int calls[] = {SYS_mremap, SYS_munmap, SYS_madvise, SYS_mprotect};
  static const char* const names[] = {"mremap", "munmap", "madvise", "mprotect"};
  mode = argv[1];
  int by_maps = strstr(mode, "maps") != NULL;
  if (!by_maps) round_of_all();
  long mapped = status_field("VmSize:"), resident = rss_kib();
  if (strcmp(mode, "all") == 0) sandbox(calls, 4, atoi(argv[2]), 0);
  for (int i = 0; i < 4; i++)
    if (strcmp(mode, names[i]) == 0) sandbox(&calls[i], 1, atoi(argv[2]), 0);
  if (by_maps) mappings_used_up();
  for (int round = 0; round < 5; round++) round_of_all();
  printf("%ld %ld\n", (status_field("VmSize:") - mapped) / 1024, (rss_kib() - resident) / 1024);
  return 0;
}
