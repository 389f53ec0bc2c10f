/* interrupted <cancel|exit|affinity|fifo>: threads that are cancelled, leave by pthread_exit, or are kept from running in the
 * middle of malloc-heavy code. Always: the others go on; no lock stays taken. Exit 77: not permitted here. */
#include "check.h"
#include <sched.h>

static volatile long work_done;
static volatile int ending;

static void churn_once(uint64_t *state, void **kept, int count) {
  void **slot = &kept[random_next(state) % count];
  free(*slot);
  *slot = malloc(random_size(state, MIB));
  LAW(*slot, "malloc");
  work_done++;
}

static void free_all(void *kept) {
  for (int i = 0; i < 64; i++) free(((void **)kept)[i]);
}

static void *body(void *argument) {
  uint64_t state = (uintptr_t)argument;
  void *kept[64] = {0};
  pthread_cleanup_push(free_all, kept);
  for (int i = 0; !ending; i++) {
    churn_once(&state, kept, 64);
    if (i % 64 == 0) pthread_testcancel();
    if ((uintptr_t)argument % 7 == 3 && i == 2000) pthread_exit(NULL);
  }
  pthread_cleanup_pop(1);
  return NULL;
}

static void cancelled(int rounds) {
  for (int round = 0; round < rounds; round++) {
    pthread_t thread[8];
    for (long i = 0; i < 8; i++) start_thread(&thread[i], body, (void *)(i + 1));
    usleep(2000);
    for (int i = 0; i < 8; i++) pthread_cancel(thread[i]);
    for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
    exercise_heap();
  }
}

static void on_one_processor(int threads) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  LAW(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
  pthread_t thread[64];
  for (long i = 0; i < threads; i++) start_thread(&thread[i], body, (void *)(i * 7 + 1));
  usleep(1500000);
  ending = 1;
  for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
  LAW(work_done > 10000, "only %ld calls in 1.5 s", work_done);
}

static void *urgent(void *unused) {
  uint64_t state = 99;
  void *kept[64] = {0};
  for (int i = 0; i < 300; i++) {
    for (int j = 0; j < 200; j++) churn_once(&state, kept, 64);
    usleep(500);
  }
  free_all(kept);
  return unused;
}

int main(int argc, char **argv) {
  LAW(argc == 2, "usage");
  if (strcmp(argv[1], "cancel") == 0) cancelled(60);
  if (strcmp(argv[1], "affinity") == 0) on_one_processor(64);
  if (strcmp(argv[1], "exit") == 0) {
    pthread_t thread[8];
    for (long i = 0; i < 8; i++) start_thread(&thread[i], body, (void *)(i + 1));
    usleep(20000);
    exit(0);
  }
  if (strcmp(argv[1], "fifo") == 0) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    LAW(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
    pthread_t thread[4], fast;
    for (long i = 0; i < 4; i++) start_thread(&thread[i], body, (void *)(i * 7 + 1));
    pthread_attr_t attributes;
    struct sched_param priority = {.sched_priority = 10};
    pthread_attr_init(&attributes);
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    pthread_attr_setschedparam(&attributes, &priority);
    int error = pthread_create(&fast, &attributes, urgent, NULL);
    if (error == 0) pthread_join(fast, NULL);
    ending = 1;
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    if (error == EPERM) return 77;
    LAW(error == 0, "pthread_create: %s", strerror(error));
  }
  exercise_heap();
  return 0;
}
