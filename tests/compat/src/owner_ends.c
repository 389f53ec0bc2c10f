/* owner_ends <rounds>: a thread makes many blocks and ends while eight others free them.
 * Always: no block is handed out twice (patterns), and the memory is used again: rounds do not add up. */
#include "check.h"

enum { freers = 8, blocks = 4000 };
static struct { unsigned char *start; size_t size; } volatile list[blocks];
static volatile int made, gone;
static volatile long taken;
static unsigned round_number;

static void *owner(void *unused) {
  uint64_t state = round_number + 1;
  for (int i = 0; i < blocks; i++) {
    size_t size = random_size(&state, 100000);
    unsigned char *start = malloc(size);
    LAW(start, "malloc");
    fill_some(start, size, i + round_number);
    list[i].start = start;
    list[i].size = size;
    __atomic_store_n(&made, i + 1, __ATOMIC_RELEASE);
  }
  return unused;
}

static void *freer(void *argument) {
  uint64_t state = (uintptr_t)argument;
  void *own = NULL;
  for (;;) {
    long i = __atomic_fetch_add(&taken, 1, __ATOMIC_ACQ_REL);
    if (i >= blocks) break;
    while (__atomic_load_n(&made, __ATOMIC_ACQUIRE) <= i) sched_yield();
    unsigned char *start = list[i].start;
    size_t size = list[i].size;
    LAW(filled_some(start, size, (unsigned)i + round_number), "a block of %zu bytes was handed out twice", size);
    memset(start, 0xee, size < 256 ? size : 256);
    free(start);
    if (i % 3 == 0) {
      free(own);
      size_t other = random_size(&state, 5000);
      memset(own = malloc(other), 0xdd, other);
    }
  }
  free(own);
  __atomic_add_fetch(&gone, 1, __ATOMIC_ACQ_REL);
  return NULL;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  int rounds = atoi(argv[1]);
  long flat = 0;
  for (int round = 0; round < rounds; round++) {
    made = gone = 0;
    taken = 0;
    round_number = round * 7;
    pthread_t thread[freers + 1];
    start_thread(&thread[freers], owner, NULL);
    for (long i = 0; i < freers; i++) start_thread(&thread[i], freer, (void *)(i + 1));
    for (int i = 0; i <= freers; i++) pthread_join(thread[i], NULL);
    if (round == rounds / 4) flat = rss_kib();
  }
  LAW(rss_kib() < flat + flat / 4 + 8192, "%ld KiB after a quarter, %ld KiB at the end", flat, rss_kib());
  exercise_heap();
  return 0;
}
