/* Producers allocate, consumers free: pairs of threads with a ring between them. Stands for pipelines
 * and for servers whose requests change threads. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum { kPairs = 1, kRing = 4096, kHandOvers = 20000000 };

typedef struct Ring {
  _Alignas(64) atomic_ulong written;
  _Alignas(64) atomic_ulong read;
  _Alignas(64) void *slots[kRing];
} Ring;
static Ring rings[kPairs];

static void *produce(void *argument) {
  Ring *ring = argument;
  uint32_t random = 1;
  for (unsigned long i = 0; i < kHandOvers; i++) {
    while (i - atomic_load_explicit(&ring->read, memory_order_acquire) >= kRing) sched_yield();
    random = random * 1664525 + 1013904223;
    char *block = malloc(16 + random / 65536 % 1000);
    block[0] = 1;
    ring->slots[i % kRing] = block;
    atomic_store_explicit(&ring->written, i + 1, memory_order_release);
  }
  return NULL;
}

static void *consume(void *argument) {
  Ring *ring = argument;
  for (unsigned long i = 0; i < kHandOvers; i++) {
    while (atomic_load_explicit(&ring->written, memory_order_acquire) <= i) sched_yield();
    free(ring->slots[i % kRing]);
    atomic_store_explicit(&ring->read, i + 1, memory_order_release);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[2 * kPairs];
  for (int i = 0; i < kPairs; i++) {
    pthread_create(&threads[2 * i], NULL, produce, &rings[i]);
    pthread_create(&threads[2 * i + 1], NULL, consume, &rings[i]);
  }
  for (int i = 0; i < 2 * kPairs; i++) pthread_join(threads[i], NULL);
  return 0;
}
