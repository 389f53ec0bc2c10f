/* fork_deep <levels> <alive|ended>: a chain of forks; each level starts 50 threads that allocate and free, and are alive at the
 * fork, or have ended. Prints what is resident in the first level and in the last one, in KiB.
 * Always: what vanished threads held is used again, not added up. */
#include "check.h"
#include <sys/wait.h>

static volatile int waiting, go;

static void *body(void *argument) {
  (void)argument;
  void *kept[200];
  for (int i = 0; i < 200; i++) memset(kept[i] = malloc(4000), 1, 4000);
  for (int i = 0; i < 1000; i++) free(malloc(i));
  for (int i = 0; i < 200; i++) free(kept[i]);
  __atomic_add_fetch(&waiting, 1, __ATOMIC_ACQ_REL);
  while (!go) usleep(1000);
  return NULL;
}

static void end_all(const pthread_t *thread) {
  go = 1;
  for (int i = 0; i < 50; i++) pthread_join(thread[i], NULL);
}

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  int levels = atoi(argv[1]), are_alive = strcmp(argv[2], "alive") == 0;
  long first = 0;
  for (int level = 0; level < levels; level++) {
    pthread_t thread[50];
    waiting = go = 0;
    for (long i = 0; i < 50; i++) start_thread(&thread[i], body, (void *)(i + 1));
    while (waiting < 50) usleep(1000);
    /* One level's 50 threads have at most 40 MiB live; ten levels' added up would be more than this bound. */
    long resident = rss_kib();
    LAW(resident < 96 * 1024, "level %d: %ld KiB", level, resident);
    if (level == 0) first = resident;
    if (level == levels - 1) {
      printf("%ld %ld\n", first, resident);
      fflush(stdout);
    }
    if (!are_alive) end_all(thread);
    pid_t child = fork();  /* threads that are there in the parent vanish in the child */
    LAW(child >= 0, "fork");
    if (child == 0) continue;
    if (are_alive) end_all(thread);
    int status = -1;
    LAW(waitpid(child, &status, 0) == child, "waitpid");
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
  }
  exercise_heap();
  return 0;
}
