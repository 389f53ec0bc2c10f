/* fork_storm <forks>: eight threads allocate and free while the main thread forks again and again.
 * Always: a child can allocate every size, free what all the parent's threads had live, start threads, fork and exec;
 * each child ends by itself with 0 (SIGALRM ends one that hangs), and the parent's blocks are as they were. */
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

enum { threads = 8, slots = 64 };
struct block { size_t size; unsigned seed; };
static struct block *shared[threads][slots];
static volatile int ending;

static struct block *made(uint64_t *state) {
  size_t size = sizeof(struct block) + random_size(state, 3 * MIB);
  struct block *block = malloc(size);
  LAW(block, "malloc(%zu)", size);
  block->size = size;
  block->seed = (unsigned)random_next(state);
  fill_some(block + 1, size - sizeof *block, block->seed);
  return block;
}

static void ended(struct block *block) {
  if (!block) return;
  LAW(filled_some(block + 1, block->size - sizeof *block, block->seed), "a block of %zu bytes has changed", block->size);
  free(block);
}

static void *body(void *argument) {
  long number = (long)argument;
  uint64_t state = number + 1;
  while (!ending) {
    /* Mostly an own slot, sometimes another thread's, so that there are frees between threads at every fork. */
    long owner = random_next(&state) % 4 ? number : (long)(random_next(&state) % threads);
    ended(__atomic_exchange_n(&shared[owner][random_next(&state) % slots], made(&state), __ATOMIC_ACQ_REL));
  }
  return NULL;
}

static void *child_thread(void *argument) {
  uint64_t state = (uintptr_t)argument;
  for (int i = 0; i < 300; i++) ended(made(&state));
  return NULL;
}

static void child_main(int number) {
  alarm(20);
  if (number % 2) exercise_heap();
  for (int i = 0; i < threads; i++)
    for (int j = 0; j < slots; j++) ended(__atomic_exchange_n(&shared[i][j], NULL, __ATOMIC_ACQ_REL));
  if (number % 3 == 0) {
    pthread_t thread[3];
    for (long i = 0; i < 3; i++) start_thread(&thread[i], child_thread, (void *)(i + number));
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
  }
  if (number % 4 == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) {
      alarm(20);
      exercise_heap();
      _exit(0);
    }
    int status = -1;
    LAW(waitpid(grandchild, &status, 0) == grandchild && status == 0, "a grandchild ended with %#x", status);
  }
  malloc_trim(0);
  if (number % 10 == 0) execl("/bin/true", "true", (char *)NULL);
  if (number % 5 == 0) exit(0);
  _exit(0);
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  int forks = atoi(argv[1]), running = 0;
  pthread_t thread[threads];
  for (long i = 0; i < threads; i++) start_thread(&thread[i], body, (void *)i);
  for (int i = 0; i < forks; i++) {
    pid_t child = fork();
    LAW(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) child_main(i);
    if (++running < 2 && i + 1 < forks) continue;
    int status = -1;
    LAW(wait(&status) > 0 && status == 0, "a child ended with %#x", status);
    running--;
  }
  for (int status; running > 0; running--) LAW(wait(&status) > 0 && status == 0, "a child ended with %#x", status);
  ending = 1;
  for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < threads; i++)
    for (int j = 0; j < slots; j++) ended(shared[i][j]);
  exercise_heap();
  return 0;
}
