/* A program that may be started with no arguments and no environment; its constructor also sets environ to NULL if told
 * so at build time (NO_ENVIRON). Always: the allocator works all the same, in every thread. */
#include "check.h"

extern char **environ;

#ifdef NO_ENVIRON
__attribute__((constructor)) static void forget(void) { environ = NULL; }
#endif

static void *body(void *unused) {
  exercise_heap();
  return unused;
}

int main(void) {
  pthread_t thread;
  start_thread(&thread, body, NULL);
  pthread_join(thread, NULL);
  exercise_heap();
  malloc_trim(0);
  return write(STDOUT_FILENO, "ran\n", 4) == 4 ? 0 : 1;
}
