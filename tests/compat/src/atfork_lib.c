/* A library with fork handlers that allocate and free in all three places, registered in its constructor and once more
 * by atfork_register(). With WITH_LOCK the handlers hold the library's lock over the fork, and atfork_work() allocates under that
 * lock in other threads. Always: the handlers' blocks are intact on both sides of the fork. */
#include "check.h"

#ifdef WITH_LOCK
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#endif
static void *kept[16];
int atfork_calls[3];

static void allocate(int which) {
  atfork_calls[which]++;
  for (int i = 0; i < 16; i++) {
    size_t size = (size_t)16 << i;
    if (kept[i]) LAW(filled_some(kept[i], size, i), "a block of %zu bytes changed over a fork", size);
    void *more = calloc(1, size);
    LAW(more && all_zero(more, size), "calloc in a fork handler");
    free(kept[i]);
    kept[i] = realloc(more, size);
    LAW(kept[i], "realloc in a fork handler");
    fill_some(kept[i], size, i);
  }
}

static void prepare(void) {
#ifdef WITH_LOCK
  pthread_mutex_lock(&lock);
#endif
  allocate(0);
}

static void parent(void) {
  allocate(1);
#ifdef WITH_LOCK
  pthread_mutex_unlock(&lock);
#endif
}

static void child(void) {
  allocate(2);
#ifdef WITH_LOCK
  pthread_mutex_unlock(&lock);
#endif
}

void atfork_work(void) {
#ifdef WITH_LOCK
  pthread_mutex_lock(&lock);
#endif
  for (int i = 0; i < 20; i++) free(realloc(malloc(10 << i % 16), 100));
  free(malloc(2 * MIB));
#ifdef WITH_LOCK
  pthread_mutex_unlock(&lock);
#endif
}

void atfork_register(void) {
#ifndef WITH_LOCK
  LAW(pthread_atfork(prepare, parent, child) == 0, "pthread_atfork");
#endif
}

__attribute__((constructor)) static void start(void) { LAW(pthread_atfork(prepare, parent, child) == 0, "pthread_atfork"); }
