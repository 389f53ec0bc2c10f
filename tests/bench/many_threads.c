/* Stands for servers with a thread per connection: small blocks that stay with their thread.
 *
 * many_threads [PERCENT [THREADS]]: the same number of steps whatever the number of threads; each step frees a
 * random block of the thread's own window and allocates another.
 */
#include <pthread.h>

#include "common.h"

enum { kSteps = 30000000, kWindow = 500, kThreadsMax = 4096 };

static long steps;

static void* work(void* seed) {
  Slot live[kWindow] = {{0}};
  uint64_t random = (uintptr_t)seed;
  for (long i = 0; i < steps; i++) {
    size_t at = random_next(&random) % kWindow;
    slot_renew(&live[at], random_small_size(&random), (char)at);
  }
  for (size_t at = 0; at < kWindow; at++) slot_end(&live[at], (char)at);
  return NULL;
}

int main(int argc, char** argv) {
  static pthread_t threads[kThreadsMax];
  long count = argument(argc, argv, 2, 16);
  if (count > kThreadsMax) fail("too many threads");
  long total = share(kSteps, argument(argc, argv, 1, 100));
  steps = total / count;
  for (long i = 0; i < count; i++) {
    if (pthread_create(&threads[i], NULL, work, (void*)(uintptr_t)(88172645463325252u + (uint64_t)i)) != 0)
      fail("no thread");
  }
  for (long i = 0; i < count; i++) pthread_join(threads[i], NULL);
  report_operations(steps * count);
  return 0;
}
