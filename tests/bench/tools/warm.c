/* Touches memory and ends: warm MEBIBYTES. A virtual machine is slow at the first touch of its memory, and
 * what another process had just before is at hand for the next one.
 *
 * Always holds: the whole range is written to; huge pages are asked for, so that this is soon done; with too
 * little memory it ends with status 1 and nothing else happens.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char** argv) {
  size_t size = argc == 2 ? strtoul(argv[1], NULL, 10) << 20 : 0;
  if (size == 0) return 2;
  char* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return 1;
  madvise(memory, size, MADV_HUGEPAGE);
  for (size_t at = 0; at < size; at += 4096) memory[at] = 1;
  return 0;
}
