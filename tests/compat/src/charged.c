/* charged <MiB>: threads fill that much memory with blocks of all sizes, free nine tenths of it, and ask the system how
 * much of the process counts against the limit of memory that may be promised (vm.overcommit_memory=2). Prints, in MiB:
 * what was asked for, what counts when all is live, and what counts after the frees and malloc_trim. */
#include "check.h"

enum { threads = 4, most = 200000 };
static char* blocks[threads][most];
static size_t asked[threads], share;

static void* body(void* argument) {
  long number = (long)argument;
  uint64_t state = number + 1;
  for (int i = 0; i < most && asked[number] < share; i++) {
    size_t size = 1 + random_next(&state) % ((size_t)64 << random_next(&state) % 16);
    blocks[number][i] = malloc(size);
    LAW(blocks[number][i], "malloc(%zu)", size);
    fill_some(blocks[number][i], size, 1);
    asked[number] += size;
  }
  return NULL;
}

/* Where that limit is in force, mappings that did not want to count (nr) do so, too, if they may be written to. */
static long counted(void) {
  static char line[8192];
  long all = 0, size = 0;
  int is_writable = 0, is_private = 0;
  FILE* file = fopen("/proc/self/smaps", "r");
  LAW(file, "no /proc/self/smaps");
  while (fgets(line, sizeof line, file)) {
    char rights[5];
    if (sscanf(line, "%*x-%*x %4s", rights) == 1) is_writable = rights[1] == 'w', is_private = rights[3] == 'p';
    sscanf(line, "Size: %ld", &size);
    if (strncmp(line, "VmFlags:", 8) == 0 &&
        (strstr(line, " ac") || (is_writable && is_private && strstr(line, " nr"))))
      all += size;
  }
  fclose(file);
  return all / 1024;
}

int main(int argc, char** argv) {
  LAW(argc == 2, "usage");
  share = strtoul(argv[1], NULL, 10) * MIB / threads;
  pthread_t thread[threads];
  for (long i = 0; i < threads; i++) start_thread(&thread[i], body, (void*)i);
  size_t sum = 0;
  for (long i = 0; i < threads; i++) {
    pthread_join(thread[i], NULL);
    sum += asked[i];
  }
  long full = counted();
  for (int i = 0; i < threads; i++)
    for (int k = 0; k < most; k++)
      if (k % 10) free(blocks[i][k]);
  malloc_trim(0);
  printf("%zu %ld %ld\n", sum / MIB, full, counted());
  return 0;
}
