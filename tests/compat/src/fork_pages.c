/* fork_pages <threads> <ended|asleep>: forks when so many threads have ended, or wait. Prints the pages that the parent and the
 * child get to themselves before the child does anything, and the microseconds until fork returns in each, the least of many.
 * Always: the child can use its memory. */
#include "check.h"
#include <sys/resource.h>
#include <sys/wait.h>

static pthread_barrier_t all_there, go_on;

static long faults(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

static void *allocate(void *unused) {
  void *blocks[20];
  for (size_t i = 0; i < 20; i++) blocks[i] = malloc(i * 150 + 1);
  for (size_t i = 1; i < 20; i++) free(blocks[i]);
  pthread_barrier_wait(&all_there);
  pthread_barrier_wait(&go_on);
  free(blocks[0]);
  return unused;
}

struct cost {
  long pages;
  double seconds;
};

/* What one fork costs in the parent and in the child. */
static void fork_once(struct cost *in_parent, struct cost *in_child, int uses_heap) {
  int ends[2];
  LAW(pipe(ends) == 0, "no pipe");
  long before = faults();
  double start = now_s();
  pid_t child = fork();
  double seconds = now_s() - start;
  if (child == 0) {
    struct cost mine = {faults(), seconds};
    if (uses_heap) exercise_heap();
    _exit(write(ends[1], &mine, sizeof mine) != sizeof mine);
  }
  int status = -1;
  LAW(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child ended with %#x", status);
  *in_parent = (struct cost){faults() - before, seconds};
  LAW(read(ends[0], in_child, sizeof *in_child) == sizeof *in_child, "no answer");
  close(ends[0]);
  close(ends[1]);
}

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  int count = atoi(argv[1]), has_ended = strcmp(argv[2], "ended") == 0;
  pthread_t *threads = malloc((size_t)count * sizeof *threads);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 * KIB);
  pthread_barrier_init(&all_there, NULL, (unsigned)count + 1);
  pthread_barrier_init(&go_on, NULL, (unsigned)count + 1);
  for (int i = 0; i < count; i++) LAW(pthread_create(&threads[i], &small, allocate, NULL) == 0, "no thread");
  pthread_barrier_wait(&all_there);
  if (has_ended) {
    pthread_barrier_wait(&go_on);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  }
  struct cost in_parent, in_child;
  double parent_s = 1e9, child_s = 1e9;
  for (int i = 0; i < 20; i++) {
    fork_once(&in_parent, &in_child, i == 0);
    if (in_parent.seconds < parent_s) parent_s = in_parent.seconds;
    if (in_child.seconds < child_s) child_s = in_child.seconds;
  }
  printf("%ld %ld %.0f %.0f\n", in_parent.pages, in_child.pages, parent_s * 1e6, child_s * 1e6);
  fflush(stdout);
  _exit(0);
}
