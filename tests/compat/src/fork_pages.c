/* fork_pages <threads> <ended|asleep>: forks when so many threads have ended, or wait, and counts the pages that the parent and
 * the child get to themselves before the child does anything.
 * Always: they are few, however many heaps there are; and the child can use its memory. */
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

/* Pages that one fork makes private, in the parent and in the child. */
static void fork_once(long *in_parent, long *in_child) {
  int ends[2];
  LAW(pipe(ends) == 0, "no pipe");
  long before = faults();
  pid_t child = fork();
  if (child == 0) {
    long mine = faults();
    exercise_heap();
    _exit(write(ends[1], &mine, sizeof mine) != sizeof mine);
  }
  int status = -1;
  LAW(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child ended with %#x", status);
  *in_parent = faults() - before;
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
  long in_parent, in_child;
  for (int i = 0; i < 3; i++) fork_once(&in_parent, &in_child);
  printf("%ld %ld\n", in_parent, in_child);
  fflush(stdout);
  _exit(0);
}
