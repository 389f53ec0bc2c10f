/* Stands for staged servers and data pipelines: three stages of threads, each frees what the one before made.
 *
 * Readers make requests; workers free each and make a reply twice as large; writers free the replies.
 */
#include "message.h"

enum { kThreads = 2, kBatches = 2500, kLimit = 8, kSpread = 500 };

static Queue requests, replies;
static long batches;

static void* read_requests(void* seed) {
  uint64_t random = (uintptr_t)seed;
  for (long i = 0; i < batches; i++) queue_push(&requests, batch_make(kBatch, kSpread, &random));
  queue_close(&requests);
  return NULL;
}

static void* work(void* unused) {
  (void)unused;
  for (Message* batch; (batch = queue_pop(&requests)) != NULL;) {
    Message* made = NULL;
    while (batch != NULL) {
      Message* next = batch->next;
      made = message_make(2 * message_end(batch), made);
      batch = next;
    }
    queue_push(&replies, made);
  }
  queue_close(&replies);
  return NULL;
}

static void* write_replies(void* sum) {
  for (Message* batch; (batch = queue_pop(&replies)) != NULL;) *(uint64_t*)sum += batch_end(batch);
  return NULL;
}

int main(int argc, char** argv) {
  batches = share(kBatches, argument(argc, argv, 1, 100));
  queue_init(&requests, kLimit, kThreads);
  queue_init(&replies, kLimit, kThreads);
  pthread_t readers[kThreads], workers[kThreads], writers[kThreads];
  uint64_t sums[kThreads] = {0}, sum = 0;
  for (int i = 0; i < kThreads; i++) {
    pthread_create(&readers[i], NULL, read_requests, (void*)(uintptr_t)(88172645463325252u + (unsigned)i));
    pthread_create(&workers[i], NULL, work, NULL);
    pthread_create(&writers[i], NULL, write_replies, &sums[i]);
  }
  for (int i = 0; i < kThreads; i++) {
    pthread_join(readers[i], NULL);
    pthread_join(workers[i], NULL);
    pthread_join(writers[i], NULL);
    sum += sums[i];
  }
  report_checksum(sum);
  return 0;
}
