/* Stands for actors and task schedulers: many threads in a ring, each frees what its neighbour allocated.
 *
 * hand_over_threads [PERCENT [THREADS]]: the same number of blocks whatever the number of threads. A thread
 * may be a few batches ahead of its neighbour, so that waiting does not decide.
 */
#include "message.h"

enum { kBatches = 12000, kLag = 4, kSpread = 500, kThreadsMax = 4096 };

typedef struct Worker {
  pthread_t thread;
  Queue inbox;
  struct Worker* next;
  uint64_t random;
} Worker;

static long batches;

static void* work(void* argument) {
  Worker* worker = argument;
  for (long i = 0; i < batches; i++) {
    queue_push(&worker->next->inbox, batch_make(kBatch, kSpread, &worker->random));
    if (i >= kLag) batch_end(queue_pop(&worker->inbox));
  }
  for (long late = batches < kLag ? batches : kLag; late > 0; late--) batch_end(queue_pop(&worker->inbox));
  return NULL;
}

int main(int argc, char** argv) {
  static Worker workers[kThreadsMax];
  long count = argument(argc, argv, 2, 16);
  if (count > kThreadsMax) fail("too many threads");
  batches = share(kBatches, argument(argc, argv, 1, 100)) / count;
  if (batches == 0) batches = 1;
  for (long i = 0; i < count; i++) {
    queue_init(&workers[i].inbox, 0, 1);
    workers[i].next = &workers[(i + 1) % count];
    workers[i].random = 88172645463325252u + (uint64_t)i;
  }
  for (long i = 0; i < count; i++) {
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) fail("no thread");
  }
  for (long i = 0; i < count; i++) pthread_join(workers[i].thread, NULL);
  report_operations(batches * count * kBatch);
  return 0;
}
