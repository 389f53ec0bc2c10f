/* atfork <forks>: forks under load while a library's fork handlers allocate (atfork_lib.c).
 * Always: no fork hangs, parent and child work on. */
#include "check.h"
#include <sys/wait.h>

static void (*library_work)(void);
static volatile int ending;

static void *body(void *argument) {
  uint64_t state = (uintptr_t)argument;
  while (!ending) {
    for (int i = 0; i < 50; i++) free(malloc(random_size(&state, 2 * MIB)));
    library_work();
  }
  return NULL;
}

int main(int argc, char **argv) {
  int forks = argc > 1 ? atoi(argv[1]) : 100;
  void (*library_register)(void) = NULL;
  *(void **)&library_work = dlsym(RTLD_DEFAULT, "atfork_work");
  *(void **)&library_register = dlsym(RTLD_DEFAULT, "atfork_register");
  int *calls = dlsym(RTLD_DEFAULT, "atfork_calls");
  LAW(library_work && library_register && calls, "the library is not loaded");
  library_register();
  pthread_t thread[4];
  for (long i = 0; i < 4; i++) start_thread(&thread[i], body, (void *)(i + 1));
  for (int i = 0; i < forks; i++) {
    pid_t child = fork();
    LAW(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
      alarm(10);
      LAW(calls[2] >= 1, "the child's handler did not run");
      exercise_heap();
      library_work();
      _exit(0);
    }
    int status = -1;
    LAW(waitpid(child, &status, 0) == child && status == 0, "a child ended with %#x", status);
  }
  LAW(calls[0] >= forks && calls[1] >= forks, "the handlers ran %d and %d times", calls[0], calls[1]);
  ending = 1;
  for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
  exercise_heap();
  return 0;
}
