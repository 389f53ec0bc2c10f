/* tls_blocks <library> <copies...>: loads libraries with dynamic TLS, uses it in 1000 threads, unloads, and does so again.
 * Always: every thread's copies are its own; memory is bounded, so the copies are freed with their threads. */
#include "check.h"

enum { most = 8 };
static int (*used[most])(unsigned);
static int libraries;

static void *body(void *argument) {
  for (int i = 0; i < libraries; i++)
    LAW(used[i]((unsigned)(uintptr_t)argument + i), "thread-local storage of library %d", i);
  return NULL;
}

int main(int argc, char **argv) {
  libraries = argc - 1;
  LAW(libraries <= most, "too many libraries");
  long first = 0;
  for (int round = 0; round < 3; round++) {
    void *handle[most];
    for (int i = 0; i < libraries; i++) {
      handle[i] = dlopen(argv[i + 1], RTLD_NOW);
      LAW(handle[i], "dlopen: %s", dlerror());
      *(void **)&used[i] = dlsym(handle[i], "tls_used");
    }
    for (int group = 0; group < 50; group++) {
      pthread_t thread[20];
      for (long i = 0; i < 20; i++) start_thread(&thread[i], body, (void *)i);
      for (int i = 0; i < 20; i++) pthread_join(thread[i], NULL);
    }
    for (int i = 0; i < libraries; i++) dlclose(handle[i]);
    exercise_heap();
    if (round == 0) first = rss_kib();
  }
  LAW(rss_kib() < first + 64 * 1024, "from %ld KiB after 1000 threads to %ld KiB after 3000", first, rss_kib());
  return 0;
}
