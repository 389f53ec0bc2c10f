/* ended_pools: threads end and leave one block in 300 alive; no thread begins any more, another one works on.
 * Always: what is free around those blocks goes back, and they keep their contents. */
#include "check.h"

enum { kThreads = 40, kBlocks = 16000, kStep = 300, kSize = 200 };
static char *kept[kThreads][kBlocks / kStep + 1];
static pthread_barrier_t barrier;

static void *work(void *thread) {
  char **blocks = malloc(kBlocks * sizeof *blocks);
  for (int i = 0; i < kBlocks; i++) fill(blocks[i] = malloc(kSize), kSize, (unsigned)i);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < kBlocks; i++) {
    if (i % kStep == 0) kept[(intptr_t)thread][i / kStep] = blocks[i];
    else free(blocks[i]);
  }
  free(blocks);
  return NULL;
}

int main(void) {
  pthread_t threads[kThreads];
  long before = rss_kib();
  pthread_barrier_init(&barrier, NULL, kThreads);
  for (intptr_t i = 0; i < kThreads; i++) LAW(!pthread_create(&threads[i], NULL, work, (void *)i), "no thread");
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  double end = now_s() + 4;
  uint64_t state = 1;
  while (now_s() < end) {
    void *blocks[200];
    for (int i = 0; i < 200; i++) blocks[i] = malloc(random_size(&state, 3000));
    for (int i = 0; i < 200; i++) free(blocks[i]);
    usleep(1000);
  }
  long live = (long)kThreads * kBlocks / kStep;  /* each keeps its page, and its pool the one with the header */
  long least = live * (long)(page_size() / KIB), resident = rss_kib() - before, kept_free = 24 * 1024; /* by the policy, and of ended threads */
  LAW(resident < 2 * least + kept_free, "%ld KiB resident, %ld in pages with live blocks", resident, least);
  for (int i = 0; i < kThreads; i++) {
    for (int k = 0; k * kStep < kBlocks; k++) {
      LAW(filled(kept[i][k], kSize, (unsigned)(k * kStep)), "block %d of thread %d", k, i);
      free(kept[i][k]);
    }
  }
  return 0;
}
