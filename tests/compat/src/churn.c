/* churn [threads [rounds]]: threads that allocate, grow, pass on and free patterned blocks of all sizes.
 * Always: a block holds what was last written to it, wherever it was made; the one output line is the same in every run. */
#include "check.h"

enum { slots = 256 };
struct block { size_t size; unsigned seed; };  /* The head of every block; the rest is pattern. */
static struct block *shared[slots];
static long rounds = 20000;
static long sum;

static struct block *block_made(size_t size, unsigned seed, int zeroed) {
  size += sizeof(struct block);
  struct block *made = zeroed ? calloc(1, size) : malloc(size);
  LAW(made, "no block of %zu bytes", size);
  if (zeroed) LAW(all_zero(made, size), "calloc(1, %zu) not zero", size);
  made->size = size;
  made->seed = seed;
  fill_some(made + 1, size - sizeof *made, seed);
  return made;
}

static void block_checked(struct block *block) {
  LAW(filled_some(block + 1, block->size - sizeof *block, block->seed), "a block of %zu bytes has changed", block->size);
}

static void *body(void *argument) {
  uint64_t state = (uintptr_t)argument;
  for (long i = 0; i < rounds; i++) {
    struct block *mine = block_made(random_size(&state, i % 1024 ? 20000 : 3 * MIB), (unsigned)i, i % 7 == 0);
    mine = __atomic_exchange_n(&shared[random_next(&state) % slots], mine, __ATOMIC_ACQ_REL);
    if (!mine) continue;
    block_checked(mine);
    if (i % 5 == 0) {
      size_t size = sizeof *mine + random_size(&state, 100000), old = mine->size, kept = old < size ? old : size;
      mine = realloc(mine, size);
      LAW(mine, "realloc to %zu failed", size);
      LAW(kept == size || filled_some(mine + 1, kept - sizeof *mine, mine->seed), "realloc lost bytes");
    }
    free(mine);
  }
  __atomic_add_fetch(&sum, rounds, __ATOMIC_RELAXED);
  return NULL;
}

int main(int argc, char **argv) {
  long threads = argc > 1 ? atol(argv[1]) : 4;
  if (argc > 2) rounds = atol(argv[2]);
  pthread_t thread[64];
  LAW(threads <= 64, "too many threads");
  for (long i = 0; i < threads; i++) start_thread(&thread[i], body, (void *)(i + 1));
  for (long i = 0; i < threads; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < slots; i++)
    if (shared[i]) {
      block_checked(shared[i]);
      free(shared[i]);
    }
  malloc_trim(0);
  exercise_heap();
  char line[64];
  int used = snprintf(line, sizeof line, "%ld threads made %ld blocks\n", threads, sum);
  return write(STDOUT_FILENO, line, used) == used ? 0 : 1;
}
