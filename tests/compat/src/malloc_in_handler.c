/* malloc_in_handler <times> <threads> <seconds>: a timer's handler allocates and frees while the program does, in so
 * many threads, until it has come so often, or so much time has passed; undefined by every standard, yet common. Prints
 * how often it came. Always: the program comes to an end by itself: at most with a crash, never by hanging. */
#include "check.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

static atomic_long handled;
static long times;
static double end_s;

static void handler(int signal) {
  (void)signal;
  int saved = errno;
  free(malloc(1 + (size_t)handled % 3000));
  handled++;
  errno = saved;
}

static void* work(void* argument) {
  uint64_t state = (uintptr_t)argument + 1;
  void* kept[256] = {0};
  while (handled < times && now_s() < end_s)
    for (int i = 0; i < 100; i++) {
      void** slot = &kept[random_next(&state) % 256];
      free(*slot);
      *slot = malloc(random_size(&state, 100000));
    }
  for (int i = 0; i < 256; i++) free(kept[i]);
  return NULL;
}

int main(int argc, char** argv) {
  LAW(argc == 4, "usage");
  times = atol(argv[1]);
  end_s = now_s() + atof(argv[3]);
  long count = atol(argv[2]) - 1;
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  pthread_t threads[8];
  for (long i = 0; i < count; i++) start_thread(&threads[i], work, (void*)(i + 1));
  /* Unlike the profiling timer this one is as fine as that, and its signal mostly comes to the main thread. */
  struct itimerval often = {{0, 15}, {0, 15}}, never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &often, NULL);
  work(NULL);
  setitimer(ITIMER_REAL, &never, NULL);
  for (long i = 0; i < count; i++) pthread_join(threads[i], NULL);
  printf("%ld\n", (long)handled);
  return 0;
}
