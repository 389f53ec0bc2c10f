/* Buffers of 256 KiB to 16 MiB, two dozen alive, every OS page touched. Stands for image, video and
 * database programs. */
#include <stdint.h>
#include <stdlib.h>

enum { kAlive = 24, kBuffers = 3000, kPage = 4096 };

int main(void) {
  static char *alive[kAlive];
  uint64_t random = 1;
  for (int i = 0; i < kBuffers; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    size_t size = (size_t)262144 << (random >> 60) % 7;
    size += (random >> 20) % size / 2;
    char **slot = &alive[(random >> 40) % kAlive];
    free(*slot);
    *slot = malloc(size);
    for (size_t at = 0; at < size; at += kPage) (*slot)[at] = 1;
  }
  for (int i = 0; i < kAlive; i++) free(alive[i]);
  return 0;
}
