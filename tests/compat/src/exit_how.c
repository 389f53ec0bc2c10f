/* exit_how <quick_exit|_exit|abort|exit|exit-thread|quick_exit-thread|return>: ends in that way while four threads allocate.
 * Always: it ends, with status 7 (abort: SIGABRT). */
#include "check.h"

static const char *how;

static void *busy(void *argument) {
  uint64_t state = (uintptr_t)argument;
  void *kept[100] = {0};
  for (;;) {
    void **slot = &kept[random_next(&state) % 100];
    free(*slot);
    *slot = malloc(random_size(&state, 3 * MIB));
  }
  return NULL;
}

static void at_exit(void) {
  for (int i = 0; i < 100; i++) free(realloc(malloc(100), 100000));
}

static void *end(void *unused) {
  if (strncmp(how, "quick_exit", 10) == 0) quick_exit(7);
  if (strcmp(how, "_exit") == 0) _exit(7);
  if (strcmp(how, "abort") == 0) abort();
  if (strncmp(how, "exit", 4) == 0) exit(7);
  return unused;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  how = argv[1];
  atexit(at_exit);
  at_quick_exit(at_exit);
  pthread_t thread;
  for (long i = 1; i <= 4; i++) start_thread(&thread, busy, (void *)i);
  usleep(30000);
  if (strstr(how, "-thread")) {
    start_thread(&thread, end, NULL);
    for (;;) free(malloc(50000));
  }
  end(NULL);
  return 7;
}
