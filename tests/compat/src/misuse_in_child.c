/* A program with threads forks, and the child frees a block twice.
 * Always: the child ends by SIGABRT. What is said of it, and that it is all said, is for the caller to look at. */
#include "check.h"

#include <signal.h>
#include <sys/wait.h>

static void *sleeps(void *argument) {
  for (;;) pause();
  return argument;
}

__attribute__((noinline)) static void frees_twice(void) {
  void *block = malloc(opaque_n(100));
  free(block);
  free(opaque(block));
}

int main(void) {
  pthread_t thread;
  LAW(pthread_create(&thread, NULL, sleeps, NULL) == 0, "no thread");
  free(malloc(opaque_n(100)));
  int status;
  const pid_t child = fork();
  if (child == 0) {
    frees_twice();
    _exit(0);
  }
  LAW(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "the child: %#x", status);
  return 0;
}
