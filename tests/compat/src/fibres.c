/* Fibres (makecontext) that allocate in one thread and free, after a switch inside one function, in another.
 * Always: no block changes, though the compiler may have kept the address of the first thread's storage. */
#include "check.h"
#include <ucontext.h>

enum { fibres = 32, stack_size = 65536, steps = 200 };
struct fibre {
  ucontext_t context;
  ucontext_t *home;
  int done;
  pthread_mutex_t busy;
};
static struct fibre fibre[fibres];
static volatile long finished;

__attribute__((noinline)) static void switch_away(struct fibre *self) { swapcontext(&self->context, self->home); }

static void fibre_main(int number) {
  struct fibre *self = &fibre[number];
  uint64_t state = number + 1;
  for (int i = 0; i < steps; i++) {
    unsigned char *block[8];
    size_t size[8];
    for (int j = 0; j < 8; j++) {
      block[j] = malloc(size[j] = random_size(&state, 100000));
      fill_some(block[j], size[j], j);
      if (j % 3 == 0) switch_away(self);
    }
    for (int j = 0; j < 8; j++) {
      LAW(filled_some(block[j], size[j], j), "a block of %zu bytes changed between two threads", size[j]);
      free(block[j]);
      if (j % 3 == 1) switch_away(self);
    }
  }
  self->done = 1;
  for (;;) switch_away(self);
}

static void *worker(void *argument) {
  uint64_t state = (uintptr_t)argument;
  while (finished < fibres) {
    struct fibre *next = &fibre[random_next(&state) % fibres];
    if (pthread_mutex_trylock(&next->busy) != 0) continue;
    ucontext_t home;
    if (!next->done) {
      next->home = &home;
      swapcontext(&home, &next->context);
      if (next->done) __atomic_add_fetch(&finished, 1, __ATOMIC_ACQ_REL);
    }
    pthread_mutex_unlock(&next->busy);
  }
  return NULL;
}

int main(void) {
  for (int i = 0; i < fibres; i++) {
    pthread_mutex_init(&fibre[i].busy, NULL);
    getcontext(&fibre[i].context);
    fibre[i].context.uc_stack.ss_sp = malloc(stack_size);
    fibre[i].context.uc_stack.ss_size = stack_size;
    makecontext(&fibre[i].context, (void (*)(void))fibre_main, 1, i);
  }
  pthread_t thread[4];
  for (long i = 0; i < 4; i++) start_thread(&thread[i], worker, (void *)(i + 1));
  for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < fibres; i++) free(fibre[i].context.uc_stack.ss_sp);
  exercise_heap();
  return 0;
}
