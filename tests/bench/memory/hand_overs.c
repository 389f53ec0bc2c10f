/* Stands for queues between threads: 25 million blocks handed from 1 or 4 threads to 1 or 4 others, each way.
 *
 * Figures: for 1-1, 1-n, n-1 and n-n the most resident, less what was resident before, relative to the most live.
 */
#include "../message.h"
#include "probe.h"

enum { kMany = 4, kBatches = 62500, kQueued = 100 };

typedef struct Side {
  long batches;
  uint64_t random;
} Side;

static Queue queue;
static long most_live, most_resident;

static void note(long bytes) {
  long live = __atomic_add_fetch(&probe_live, bytes, __ATOMIC_RELAXED);
  if (live > __atomic_load_n(&most_live, __ATOMIC_RELAXED)) __atomic_store_n(&most_live, live, __ATOMIC_RELAXED);
}

static void* produce(void* argument) {
  Side* side = argument;
  for (long i = 0; i < side->batches; i++) {
    Message* first = batch_make(kBatch, 1000, &side->random);
    long bytes = 0;
    for (Message* each = first; each != NULL; each = each->next) bytes += each->size;
    note(bytes);
    queue_push(&queue, first);
  }
  return NULL;
}

static void* consume(void* argument) {
  Side* side = argument;
  for (long i = 0; i < side->batches; i++) {
    note(-(long)batch_end(queue_pop(&queue)));
    if (i % 1000 != 0) continue;
    long resident = resident_kib();
    if (resident > __atomic_load_n(&most_resident, __ATOMIC_RELAXED)) most_resident = resident;
  }
  return NULL;
}

static void run(const char* name, int producers, int consumers, long batches) {
  pthread_t threads[2 * kMany];
  Side sides[2 * kMany];
  long base = resident_kib();
  most_live = most_resident = 0;
  queue_init(&queue, kQueued, 1);
  for (int i = 0; i < producers + consumers; i++) {
    int is_producer = i < producers;
    sides[i] = (Side){batches / (is_producer ? producers : consumers), 88172645463325252u + (unsigned)i};
    pthread_create(&threads[i], NULL, is_producer ? produce : consume, &sides[i]);
  }
  for (int i = 0; i < producers + consumers; i++) pthread_join(threads[i], NULL);
  figure(name, (double)(most_resident - base) * 1024 / (double)most_live);
}

int main(int argc, char** argv) {
  long batches = share(kBatches / kMany, argument(argc, argv, 1, 100)) * kMany;
  probe_start();
  run("one_one", 1, 1, batches);
  run("one_many", 1, kMany, batches);
  run("many_one", kMany, 1, batches);
  run("many_many", kMany, kMany, batches);
  return 0;
}
