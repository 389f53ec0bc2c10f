/* Stands for pre-forking servers and snapshots: children of a process with a large heap change a little of it.
 *
 * Each child frees some of the parent's blocks, allocates others and exits; the parent changes its heap
 * between them. Memory that a child touches is copied by the kernel, so what the allocator writes counts.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

enum { kBlocks = 300000, kChildren = 60, kChanges = 2000 };

static Slot heap[kBlocks];

static uint64_t change(long blocks, uint64_t* random) {
  uint64_t sum = 0;
  for (int i = 0; i < kChanges; i++) {
    uint64_t at = random_next(random) % (uint64_t)blocks;
    slot_renew(&heap[at], random_small_size(random), (char)at);
    sum += heap[at].size;
  }
  return sum;
}

int main(int argc, char** argv) {
  long percent = argument(argc, argv, 1, 100);
  long blocks = share(kBlocks, percent), children = share(kChildren, percent);
  uint64_t random = 88172645463325252u, sum = 0;
  for (long i = 0; i < blocks; i++) slot_renew(&heap[i], random_small_size(&random), (char)i);
  for (long i = 0; i < children; i++) {
    pid_t child = fork();
    if (child == 0) {
      change(blocks, &random);
      _exit(0);
    }
    sum += change(blocks, &random);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) fail("a child failed");
  }
  report_checksum(sum);
  return 0;
}
