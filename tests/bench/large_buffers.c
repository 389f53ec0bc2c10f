/* Stands for image, video and database programs: touched buffers of 256 KiB to 16 MiB, two dozen alive. */
#include "common.h"

enum { kAlive = 24, kBuffers = 2000 };

int main(int argc, char** argv) {
  static Slot alive[kAlive];
  long buffers = share(kBuffers, argument(argc, argv, 1, 100));
  uint64_t random = 1, sum = 0;
  for (long i = 0; i < buffers; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    size_t size = (size_t)262144 << (random >> 60) % 7;
    size += (random >> 20) % size / 2;
    size_t at = (random >> 40) % kAlive;
    slot_renew(&alive[at], size, (char)at);
    sum += size;
  }
  for (size_t at = 0; at < kAlive; at++) slot_end(&alive[at], (char)at);
  report_checksum(sum);
  return 0;
}
