/* Messages that threads pass on, and the queue they pass through.
 *
 * Always holds: a message is one block and knows its own size; messages travel in batches (lists) of some
 * hundreds, so that the queue's lock is taken once per batch and what is measured is the allocator; a queue
 * keeps the order of batches. Any number of threads may use a queue.
 */
#ifndef POOLALLOC_BENCH_MESSAGE_H
#define POOLALLOC_BENCH_MESSAGE_H

#include <pthread.h>

#include "common.h"

typedef struct Message {
  struct Message* next;  /* in its batch */
  struct Message* batch; /* in the first message of a batch: the batch behind it in the queue */
  uint32_t size;
} Message;

enum { kMessageMin = sizeof(Message) + 1, kBatch = 400 };

static inline Message* message_make(size_t size, Message* next) {
  char* block = block_make(size, (char)size);
  Message* message = (Message*)block;
  message->next = next;
  message->batch = NULL;
  message->size = (uint32_t)size;
  return message;
}

/* Frees a message; its size. */
static inline size_t message_end(Message* message) {
  size_t size = message->size;
  if (((char*)message)[size - 1] != (char)size) fail("a message's content changed");
  free(message);
  return size;
}

/* Frees a list of messages; the sum of their sizes. */
static inline uint64_t batch_end(Message* first) {
  uint64_t sum = 0;
  while (first != NULL) {
    Message* next = first->next;
    sum += message_end(first);
    first = next;
  }
  return sum;
}

/* A batch of count messages of 24 to 24 + spread bytes. */
static inline Message* batch_make(long count, size_t spread, uint64_t* random) {
  Message* first = NULL;
  while (count-- > 0) first = message_make(kMessageMin + random_next(random) % spread, first);
  return first;
}

typedef struct Queue {
  pthread_mutex_t lock;
  pthread_cond_t grew, shrank;
  Message *first, *last;
  int count, limit, writers; /* limit: 0 for none; writers: how many will still call queue_close */
} Queue;

static inline void queue_init(Queue* queue, int limit, int writers) {
  memset(queue, 0, sizeof *queue);
  pthread_mutex_init(&queue->lock, NULL);
  pthread_cond_init(&queue->grew, NULL);
  pthread_cond_init(&queue->shrank, NULL);
  queue->limit = limit;
  queue->writers = writers;
}

/* Waits while the queue is at its limit. */
static inline void queue_push(Queue* queue, Message* batch) {
  pthread_mutex_lock(&queue->lock);
  while (queue->limit > 0 && queue->count >= queue->limit) pthread_cond_wait(&queue->shrank, &queue->lock);
  batch->batch = NULL;
  if (queue->first == NULL) {
    queue->first = batch;
  } else {
    queue->last->batch = batch;
  }
  queue->last = batch;
  queue->count++;
  pthread_cond_signal(&queue->grew);
  pthread_mutex_unlock(&queue->lock);
}

/* Waits while the queue is empty; NULL when it is and every writer has closed it. */
static inline Message* queue_pop(Queue* queue) {
  pthread_mutex_lock(&queue->lock);
  while (queue->first == NULL && queue->writers > 0) pthread_cond_wait(&queue->grew, &queue->lock);
  Message* batch = queue->first;
  if (batch != NULL) {
    queue->first = batch->batch;
    queue->count--;
    pthread_cond_signal(&queue->shrank);
  }
  pthread_mutex_unlock(&queue->lock);
  return batch;
}

static inline void queue_close(Queue* queue) {
  pthread_mutex_lock(&queue->lock);
  queue->writers--;
  pthread_cond_broadcast(&queue->grew);
  pthread_mutex_unlock(&queue->lock);
}

#endif
