/* raw_clone <children> <threads> <smallest> <largest>: the clone system call itself, of which no library learns anything,
 * makes children while threads allocate blocks of so many bytes and free each other's. Prints: how many children
 * hung, and how many ended badly. Always: the parent's blocks are as they were. */
#include "check.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { most_threads = 16, slots = 16, own = 30 };
static char* volatile shared[most_threads * slots];
static size_t smallest, largest;
static volatile int ending;

static char* made(uint64_t* state) {
  size_t size = smallest + random_next(state) % (largest - smallest);
  char* block = malloc(size);
  LAW(block, "malloc(%zu)", size);
  memcpy(block, &size, sizeof size);
  fill_some(block + sizeof size, size - sizeof size, (unsigned)size);
  return block;
}

static void ended(char* block) {
  size_t size;
  if (!block) return;
  memcpy(&size, block, sizeof size);
  LAW(filled_some(block + sizeof size, size - sizeof size, (unsigned)size), "a block of %zu bytes has changed", size);
  free(block);
}

static void* body(void* argument) {
  uint64_t state = (uintptr_t)argument;
  while (!ending)
    ended(__atomic_exchange_n(&shared[random_next(&state) % (most_threads * slots)], made(&state), __ATOMIC_ACQ_REL));
  return NULL;
}

/* Only what was the calling thread's own is touched: another thread's block may be half written. */
static void child_main(char** mine, int number) {
  uint64_t state = number + 1;
  char* many[60];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 60; i++) many[i] = made(&state);
    for (int i = 0; i < 60; i++) ended(many[i]);
  }
  for (int i = 0; i < own; i++) ended(mine[i]);
  ended(made(&state));
  _exit(0);
}

/* Whether the child ends within some seconds; signals may be blocked where it hangs. */
static int has_ended(pid_t child, int* status) {
  for (double until = now_s() + 4; now_s() < until; usleep(500))
    if (waitpid(child, status, WNOHANG) == child) return 1;
  kill(child, SIGKILL);
  LAW(waitpid(child, status, 0) == child, "waitpid");
  return 0;
}

int main(int argc, char** argv) {
  LAW(argc == 5, "usage");
  int children = atoi(argv[1]), threads = atoi(argv[2]), hung = 0, bad = 0;
  smallest = sizeof(size_t) + strtoul(argv[3], NULL, 10);
  largest = sizeof(size_t) + strtoul(argv[4], NULL, 10);
  LAW(threads <= most_threads, "too many threads");
  pthread_t thread[most_threads];
  char* mine[own];
  uint64_t state = 99;
  for (int i = 0; i < own; i++) mine[i] = made(&state);
  for (long i = 0; i < threads; i++) start_thread(&thread[i], body, (void*)(i + 1));
  for (int i = 0; i < children; i++) {
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    LAW(child >= 0, "clone: %s", strerror(errno));
    if (child == 0) child_main(mine, i);
    int status = -1;
    if (!has_ended(child, &status))
      hung++;
    else
      bad += status != 0;
  }
  ending = 1;
  for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < most_threads * slots; i++) ended(shared[i]);
  for (int i = 0; i < own; i++) ended(mine[i]);
  printf("%d %d\n", hung, bad);
  return 0;
}
