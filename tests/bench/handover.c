/* Stands for loaders and loggers: one thread allocates what another one frees. */
#include "message.h"

enum { kBatches = 10000, kLimit = 8, kSpread = 1000 };

static Queue queue;
static long batches;

static void* produce(void* unused) {
  (void)unused;
  uint64_t random = 88172645463325252u;
  for (long i = 0; i < batches; i++) queue_push(&queue, batch_make(kBatch, kSpread, &random));
  queue_close(&queue);
  return NULL;
}

int main(int argc, char** argv) {
  batches = share(kBatches, argument(argc, argv, 1, 100));
  queue_init(&queue, kLimit, 1);
  pthread_t producer;
  pthread_create(&producer, NULL, produce, NULL);
  uint64_t sum = 0;
  for (Message* batch; (batch = queue_pop(&queue)) != NULL;) sum += batch_end(batch);
  pthread_join(producer, NULL);
  report_checksum(sum);
  return 0;
}
