/* Fills memory with blocks of argv[1] bytes until argv[2] MiB or malloc fails, then frees all of it.
 * Prints: the MiB it got, errno if malloc failed, MiB resident when full and after. Always: content is kept. */
#include "check.h"

int main(int argc, char** argv) {
  size_t size = strtoul(argv[1], NULL, 10), most = strtoul(argv[2], NULL, 10) << 20, bytes = 0;
  void* last = NULL;
  int error = 0;
  LAW(argc == 3, "two arguments");
  while (bytes < most) {
    errno = 0;
    void** block = malloc(size);
    if (block == NULL) {
      error = errno;
      break;
    }
    memset(block, 0x5a, size);
    block[0] = last;
    last = block;
    bytes += size;
  }
  long full = status_field("VmRSS:");
  while (last != NULL) {
    void** block = last;
    last = block[0];
    LAW(size <= 16 || ((unsigned char*)block)[size - 1] == 0x5a, "a block keeps its content");
    free(block);
  }
  void* again = malloc(size);
  LAW(again != NULL || bytes == 0, "freed memory can be had again");
  free(again);
  printf("%zu %d %ld %ld\n", bytes >> 20, error, full / 1024, status_field("VmRSS:") / 1024);
  return 0;
}
