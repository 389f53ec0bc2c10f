/* malloc_in_handler <seconds>: a profiling timer's handler allocates and frees while the program does; undefined by every
 * standard, yet common. Always: the program comes to an end by itself: at most with a crash, never by hanging. */
#include "check.h"
#include <signal.h>
#include <sys/time.h>

static volatile long handled;

static void handler(int signal) {
  (void)signal;
  int saved = errno;
  free(malloc(1 + handled % 3000));
  handled++;
  errno = saved;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  double end = now_s() + atof(argv[1]);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigaction(SIGPROF, &action, NULL);
  struct itimerval every = {{0, 100}, {0, 100}};
  setitimer(ITIMER_PROF, &every, NULL);
  uint64_t state = 1;
  void *kept[256] = {0};
  while (now_s() < end)
    for (int i = 0; i < 1000; i++) {
      void **slot = &kept[random_next(&state) % 256];
      free(*slot);
      *slot = malloc(random_size(&state, 100000));
    }
  return handled > 0 ? 0 : 3;
}
