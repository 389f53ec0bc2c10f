/* fork_in_handler <forks> <threads>: a timer's signal handler forks while the program is inside malloc or free.
 * Always: fork comes back; the child only leaves by _exit, and the parent's heap is whole. */
#include "check.h"
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile int forked, ending;
static int wanted;

static void handler(int signal) {
  (void)signal;
  int saved = errno;
  if (forked < wanted) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    int status = -1;
    if (child > 0) LAW(waitpid(child, &status, 0) == child && status == 0, "a child ended with %#x", status);
    forked++;
  }
  errno = saved;
}

static void *body(void *argument) {
  sigset_t all;
  sigfillset(&all);
  if (argument) pthread_sigmask(SIG_BLOCK, &all, NULL);
  uint64_t state = (uintptr_t)argument + 5;
  void *kept[64] = {0};
  while (!ending && forked < wanted) {
    void **slot = &kept[random_next(&state) % 64];
    free(*slot);
    *slot = malloc(random_size(&state, 2 * MIB));
  }
  for (int i = 0; i < 64; i++) free(kept[i]);
  return NULL;
}

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  wanted = atoi(argv[1]);
  int threads = atoi(argv[2]);
  pthread_t thread[16];
  for (long i = 0; i < threads; i++) start_thread(&thread[i], body, (void *)(i + 1));
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  struct itimerval every = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &every, NULL);
  body(NULL);
  ending = 1;
  for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
  exercise_heap();
  return 0;
}
