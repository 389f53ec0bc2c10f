/* only_free <threads>: short threads, joined or detached, that free others' blocks and allocate nothing.
 * Always: memory is flat over their number. */
#include "check.h"

enum { blocks = 200 };
static volatile long running;

static void *body(void *argument) {
  void **list = argument;
  for (int i = 0; i < blocks; i++) free(list[i]);
  free(list);
  __atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL);
  return NULL;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  long count = atol(argv[1]), flat = 0;
  for (long done = 0; done < count; done++) {
    void **list = malloc(blocks * sizeof *list);
    for (int i = 0; i < blocks; i++) {
      size_t size = 16 << (i % 11);
      list[i] = malloc(size);
      memset(list[i], 1, size);
    }
    pthread_t thread;
    __atomic_add_fetch(&running, 1, __ATOMIC_ACQ_REL);
    start_thread(&thread, body, list);
    if (done % 2) pthread_detach(thread);
    else pthread_join(thread, NULL);
    while (running > 8) usleep(100);
    if (!flat && done >= count / 10) flat = rss_kib();
  }
  while (running) usleep(100);
  LAW(rss_kib() < flat + flat / 4 + 8192, "%ld KiB after a tenth, %ld KiB at the end", flat, rss_kib());
  exercise_heap();
  return 0;
}
