/* fork_in_handler <forks> <threads> <one|alone|all|locked>: a signal handler forks while the program is inside malloc or
 * free; in the main thread, also where there is no other and blocks are large; or in all threads, several at a time, with
 * fork handlers that hold a lock or without.
 * Always: fork comes back; a child either leaves by _exit at once, or goes on where it was interrupted, its heap whole;
 * so is the parent's. */
#include "check.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/time.h>
#include <sys/wait.h>

static atomic_int forked, ending;
static int wanted;
static bool interrupts_all, is_child;
static size_t least;  // of a block's size

static void handler(int signal) {
  (void)signal;
  int saved = errno;
  int number = forked;
  if (number < wanted && !is_child) {
    pid_t child = fork();
    if (child == 0 && number % 4 != 0) _exit(0);
    if (child == 0) {
      alarm(20);
      is_child = true;
      ending = 1;
    }
    int status = -1;
    if (child > 0) LAW(waitpid(child, &status, 0) == child && status == 0, "a child ended with %#x", status);
    forked++;
  }
  errno = saved;
}

static void block_signals(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static void *body(void *argument) {
  if (argument && !interrupts_all) block_signals();
  uint64_t state = (uintptr_t)argument + 5;
  void *kept[64] = {0};
  while (!ending && forked < wanted) {
    void **slot = &kept[random_next(&state) % 64];
    free(*slot);
    *slot = malloc(least + random_size(&state, 2 * MIB));
  }
  for (int i = 0; i < 64; i++) free(kept[i]);
  if (is_child) {
    exercise_heap();
    malloc_trim(0);
    _exit(0);
  }
  return NULL;
}

/* As a library does that has a lock of its own: whoever waits for it is in its signal handler, and may have been
 * interrupted with a lock of the allocator. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local sigset_t before;

static void take_lock(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  pthread_mutex_lock(&lock);
}

static void leave_lock(void) {
  pthread_mutex_unlock(&lock);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static pthread_t thread[16];
static int threads;

/* The threads are interrupted together, so that their forks meet. */
static void *interrupt(void *argument) {
  pthread_t main_thread = *(pthread_t *)argument;
  block_signals();
  while (!ending && forked < wanted) {
    for (int i = 0; interrupts_all && i < threads; i++) pthread_kill(thread[i], SIGUSR1);
    pthread_kill(main_thread, SIGUSR1);
    usleep(1000);
  }
  return NULL;
}

int main(int argc, char **argv) {
  LAW(argc == 4, "usage");
  wanted = atoi(argv[1]);
  threads = atoi(argv[2]);
  interrupts_all = strcmp(argv[3], "one") != 0;
  if (strcmp(argv[3], "locked") == 0) pthread_atfork(take_lock, leave_lock, leave_lock);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  if (strcmp(argv[3], "alone") == 0) {
    struct itimerval often = {{0, 500}, {0, 500}};
    least = 66000;
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &often, NULL);
    body(NULL);
    return 0;
  }
  for (long i = 0; i < threads; i++) start_thread(&thread[i], body, (void *)(i + 1));
  pthread_t main_thread = pthread_self(), interrupter;
  start_thread(&interrupter, interrupt, &main_thread);
  body(NULL);
  ending = 1;
  pthread_join(interrupter, NULL);
  for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
  exercise_heap();
  return 0;
}
