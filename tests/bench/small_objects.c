/* Short-lived small objects: a window of live blocks whose sizes follow what programs mostly ask for;
 * each step frees a random one and allocates another. Stands for parsers, interpreters, request
 * handlers on one thread. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { kWindow = 20000, kSteps = 40000000 };

static uint64_t state = 88172645463325252u;
static uint64_t next_random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static size_t next_size(void) {
  uint64_t r = next_random();
  return (r & 7) < 6 ? 8 + r / 64 % 120 : 128 + r / 64 % 900;
}

int main(void) {
  static char *live[kWindow];
  for (long i = 0; i < kSteps; i++) {
    size_t at = next_random() % kWindow;
    free(live[at]);
    size_t size = next_size();
    live[at] = malloc(size);
    live[at][0] = live[at][size - 1] = (char)i;
  }
  return 0;
}
