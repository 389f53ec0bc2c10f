/* asleep <0|1>: a program takes and frees much, again and again, and falls asleep; its child as well. With 1 a thread gives back
 * what it keeps.
 * Always: with the thread little is left after three seconds, and the thread ends; without it there is never one. */
#include "check.h"
#include <sys/wait.h>

static long threads(void) { return status_field("Threads:"); }

static void work(void) {
  static char *blocks[3000];
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < 3000; i++) memset(blocks[i] = malloc(i % 2 ? 100000 : 500), 1, i % 2 ? 100000 : 500);
    for (int i = 0; i < 3000; i++) free(blocks[i]);
  }
}

static void fall_asleep(int is_wanted) {
  LAW(threads() == 1, "%ld threads at first", threads());
  free(malloc(100));
  LAW(threads() == 1, "%ld threads for nothing", threads());
  work();
  LAW(threads() == 1 + is_wanted, "%ld threads", threads());
  sleep(3);
  if (is_wanted) LAW(rss_kib() < 48 * 1024, "%ld KiB resident after three seconds", rss_kib());
  sleep(8);
  LAW(threads() == 1, "%ld threads after a long sleep", threads());
}

int main(int argc, char **argv) {
  int is_wanted = argc > 1 && atoi(argv[1]);
  pid_t child = fork();
  if (child == 0) {
    fall_asleep(is_wanted);
    _exit(0);
  }
  fall_asleep(is_wanted);
  int status = -1;
  LAW(waitpid(child, &status, 0) == child && status == 0, "the child ended with %#x", status);
  work();
  LAW(threads() == 1 + is_wanted, "%ld threads when it has woken", threads());
  child = fork();
  if (child == 0) {
    LAW(threads() == 1, "%ld threads in a child", threads());
    work();
    LAW(threads() == 1 + is_wanted, "%ld threads in a child that works", threads());
    _exit(0);
  }
  LAW(waitpid(child, &status, 0) == child && status == 0, "the second child ended with %#x", status);
  return 0;
}
