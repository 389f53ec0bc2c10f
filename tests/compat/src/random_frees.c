/* random_frees <blocks> <size>: a thread allocates so many blocks and sleeps; another one frees all of them in random
 * order. Always: the frees, and nothing else of note, happen in `free_all`; it prints the nanoseconds of processor time
 * that each took. */
#include "check.h"

static void** blocks;
static long count;
static pthread_barrier_t made, end;

static void* make(void* size) {
  for (long i = 0; i < count; i++) memset(blocks[i] = malloc((size_t)size), 1, 8);
  pthread_barrier_wait(&made);
  pthread_barrier_wait(&end);
  return NULL;
}

__attribute__((noinline)) void free_all(void) {
  for (long i = 0; i < count; i++) free(blocks[i]);
}

int main(int argc, char** argv) {
  LAW(argc == 3, "usage");
  count = atol(argv[1]);
  blocks = malloc((size_t)count * sizeof *blocks);
  pthread_barrier_init(&made, NULL, 2);
  pthread_barrier_init(&end, NULL, 2);
  pthread_t maker;
  start_thread(&maker, make, (void*)atol(argv[2]));
  pthread_barrier_wait(&made);
  uint64_t state = 1;
  for (long i = count - 1; i > 0; i--) {
    long other = (long)(random_next(&state) % (uint64_t)(i + 1));
    void* block = blocks[i];
    blocks[i] = blocks[other];
    blocks[other] = block;
  }
  struct timespec before, after;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  free_all();
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  printf("%.1f\n",
         ((double)(after.tv_sec - before.tv_sec) * 1e9 + (double)(after.tv_nsec - before.tv_nsec)) / (double)count);
  pthread_barrier_wait(&end);
  pthread_join(maker, NULL);
  return 0;
}
