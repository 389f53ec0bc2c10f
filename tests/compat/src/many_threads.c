/* many_threads <count>: creates and ends that many threads, 64 at a time; each allocates 10 KiB and leaves half for main.
 * Always: what main frees is intact, and memory is flat after the first twentieth, in which all of a group have met, so
 * that there are as many heaps as there can be. Prints the seconds it took. */
#include "check.h"

enum { group = 64, blocks = 20 };
static void *left[group][blocks / 2];
static pthread_barrier_t met;
static int meets = 1;

static void *body(void *argument) {
  long number = (long)argument;
  void *own[blocks / 2];
  for (int i = 0; i < blocks; i++) {
    void *block = malloc(512);
    fill(block, 512, number + i);
    if (i % 2) left[number][i / 2] = block;
    else own[i / 2] = block;
  }
  if (meets) pthread_barrier_wait(&met);
  for (int i = 0; i < blocks / 2; i++) free(own[i]);
  return NULL;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  long count = atol(argv[1]), flat = 0;
  double start = now_s();
  pthread_barrier_init(&met, NULL, group);
  for (long done = 0; done < count; done += group) {
    pthread_t thread[group];
    for (long i = 0; i < group; i++) start_thread(&thread[i], body, (void *)i);
    for (long i = 0; i < group; i++) {
      pthread_join(thread[i], NULL);
      for (int j = 0; j < blocks / 2; j++) {
        LAW(filled(left[i][j], 512, i + j * 2 + 1), "a thread's block has changed");
        free(left[i][j]);
      }
    }
    if (!flat && done >= count / 20) flat = rss_kib();
    meets = !flat;
  }
  double seconds = now_s() - start;
  LAW(rss_kib() < flat + flat / 5 + 2048, "%ld KiB after a twentieth, %ld KiB at the end", flat, rss_kib());
  printf("%.6f\n", seconds);
  return 0;
}
