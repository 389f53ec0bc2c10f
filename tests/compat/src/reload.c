/* reload <library> <times>: loads a library, lets it leave a block and a thread-local destructor behind, and unloads it.
 * Always: the block outlives the library; memory is flat over the number of times. */
#include "check.h"

static const char *path;

static void *once(void *unused) {
  (void)unused;
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  LAW(library, "dlopen: %s", dlerror());
  void *(*leave)(void) = NULL;
  *(void **)&leave = dlsym(library, "leave_something");
  LAW(leave, "dlsym: %s", dlerror());
  void *block = leave();
  dlclose(library);
  return block;
}

int main(int argc, char **argv) {
  LAW(argc == 3, "usage");
  path = argv[1];
  long times = atol(argv[2]), flat = 0;
  for (long i = 0; i < times; i++) {
    pthread_t thread;
    void *block = NULL;
    start_thread(&thread, once, NULL);
    pthread_join(thread, &block);
    LAW(filled(block, 10000, 7), "the block that an unloaded library left has changed");
    free(block);
    if (!flat && i >= times / 10) flat = rss_kib();
  }
  LAW(rss_kib() < flat + 4096, "%ld KiB after a tenth, %ld KiB at the end", flat, rss_kib());
  exercise_heap();
  return 0;
}
