/* many_keys <count> <malloc|setspecific>: the program takes so many thread-specific keys first; a thread's first
 * allocation is its own, or one that libc makes to note the value of a late key.
 * Always: what ended threads leave is used again. */
#include "check.h"
#include <stdbool.h>

static pthread_key_t keys[1024];
static int key_count;
static bool sets_first;

static void *work(void *unused) {
  (void)unused;
  if (sets_first && key_count > 0) pthread_setspecific(keys[key_count - 1], &key_count);
  void *blocks[512];
  for (int i = 0; i < 512; i++) memset(blocks[i] = malloc(1024), 1, 1024);
  for (int i = 0; i < 512; i++) free(blocks[i]);
  return NULL;
}

int main(int argc, char **argv) {
  int wanted = argc > 1 ? atoi(argv[1]) : 40;
  sets_first = argc > 2 && !strcmp(argv[2], "setspecific");
  while (key_count < wanted && pthread_key_create(&keys[key_count], NULL) == 0) key_count++;
  LAW(key_count >= (wanted < 1000 ? wanted : 1000), "only %d keys", key_count);
  long before = 0;
  for (int i = 0; i < 400; i++) {
    pthread_t thread;
    LAW(pthread_create(&thread, NULL, work, NULL) == 0, "no thread");
    pthread_join(thread, NULL);
    if (i == 20) before = rss_kib();
  }
  LAW(rss_kib() < before + 2048, "resident grew from %ld to %ld KiB", before, rss_kib());
  return 0;
}
