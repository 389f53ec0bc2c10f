/* stop_the_world <rounds> <trim|fork|threads>: a collector stops all other threads by a signal, again and again, and waits until each
 * has answered; what the others do is allocate, and trim, fork, or start threads that end.
 * Always: all threads answer within seconds. */
#include "check.h"
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { kMembers = 8 };
static atomic_int members[kMembers]; /* thread numbers; 0: none */
static atomic_int answered[kMembers];
static atomic_int round_number, resumed;
static atomic_bool done;
static pid_t process;
static __thread int own_place;

static void stop(int signal) {
  (void)signal;
  if (getpid() != process) return;
  int saved = errno, number = round_number;
  answered[own_place] = number;
  while (resumed < number) syscall(SYS_sched_yield);
  errno = saved;
}

static int thread_number(void) { return (int)syscall(SYS_gettid); }

static void join_world(int place) {
  own_place = place;
  answered[place] = 0;
  members[place] = thread_number();
}

static void churn(int count) {
  static __thread uint64_t state = 3;
  void *blocks[64];
  for (int i = 0; i < count; i++) blocks[i] = malloc(random_size(&state, 100000));
  for (int i = 0; i < count; i++) free(blocks[i]);
}

static void *churning(void *place) {
  join_world((int)(intptr_t)place);
  while (!done) churn(64);
  members[own_place] = 0;
  return NULL;
}

static void *young(void *place) {
  join_world((int)(intptr_t)place);
  churn(20);
  members[own_place] = 0;
  return NULL;
}

static const char *what;

static void *acting(void *place) {
  join_world((int)(intptr_t)place);
  while (!done) {
    if (!strcmp(what, "trim")) {
      malloc_trim(0);
    } else if (!strcmp(what, "fork")) {
      pid_t child = fork();
      if (child == 0) _exit(0);
      while (child > 0 && waitpid(child, NULL, 0) < 0) {}
    } else {
      pthread_t thread;
      LAW(pthread_create(&thread, NULL, young, (void *)(intptr_t)(own_place + 4)) == 0, "no thread");
      pthread_join(thread, NULL);
    }
  }
  members[own_place] = 0;
  return NULL;
}

/* Whether the member has answered, or has left meanwhile: then nobody waits for it. */
static bool has_answered(int place, int member) {
  return answered[place] == round_number || members[place] != member ||
         syscall(SYS_tgkill, process, member, 0) != 0;
}

static void stop_and_go_on(void) {
  int stopped[kMembers] = {0};
  round_number++;
  for (int i = 0; i < kMembers; i++) {
    int member = members[i];
    if (member && syscall(SYS_tgkill, process, member, SIGUSR1) == 0) stopped[i] = member;
  }
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (int i = 0; i < kMembers; i++) {
    while (stopped[i] && !has_answered(i, stopped[i])) {
      clock_gettime(CLOCK_MONOTONIC, &now);
      LAW(now.tv_sec - start.tv_sec < 10, "a thread has not answered in round %d", round_number);
      sched_yield();
    }
  }
  resumed = round_number;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 500;
  what = argc > 2 ? argv[2] : "trim";
  process = getpid();
  alarm(80);
  struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  pthread_t threads[3];
  pthread_create(&threads[0], NULL, churning, (void *)1);
  pthread_create(&threads[1], NULL, acting, (void *)2);
  pthread_create(&threads[2], NULL, acting, (void *)3);
  for (int i = 0; i < rounds; i++) {
    stop_and_go_on();
    struct timespec pause = {0, (i * 7919) % 300000};
    nanosleep(&pause, NULL);
  }
  done = true;
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  return 0;
}
