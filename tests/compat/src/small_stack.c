/* Threads whose stack is as small as the system allows, with a guard page below.
 * Always: the first call of a thread, its slow paths, large blocks, trimming and statistics fit; an overflow is a crash. */
#include "check.h"
#include <sys/mman.h>

static void *everything(void *unused) {
  void *kept[64];
  for (int i = 0; i < 64; i++) {
    kept[i] = malloc((size_t)1 << (i % 24));
    LAW(kept[i], "malloc");
    ((char *)kept[i])[0] = 1;
  }
  for (int i = 0; i < 64; i++) {
    kept[i] = realloc(kept[i], ((size_t)1 << (i % 24)) * 3);
    LAW(kept[i], "realloc");
  }
  void *aligned = NULL;
  LAW(posix_memalign(&aligned, 1 << 20, 100) == 0, "posix_memalign");
  free(aligned);
  free(calloc(1000, 1000));
  for (int i = 0; i < 64; i++) free(kept[i]);
  malloc_trim(0);
  (void)mallinfo2();
  exercise_heap();
  return unused;
}

static void *first_free(void *block) {
  free(block);
  free(malloc(30));
  return NULL;
}

static void *first_large(void *unused) {
  free(malloc(50 * MIB));
  return unused;
}

static void *foreign(void *unused) {
  free(foreign_pointer());
  LAW(!realloc(foreign_pointer(), 10), "realloc of an invalid pointer");
  return unused;
}

static void in_small_stack(void *(*body)(void *), void *argument) {
  long least = sysconf(_SC_THREAD_STACK_MIN);
  size_t size = least < 16384 ? 16384 : (size_t)least;
  char *area = mmap(NULL, size + 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  LAW(area != MAP_FAILED && mprotect(area + 65536, size, PROT_READ | PROT_WRITE) == 0, "a stack");
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  int error = pthread_attr_setstack(&attributes, area + 65536, size);
  LAW(error == 0, "pthread_attr_setstack(%zu): %s", size, strerror(error));
  pthread_t thread;
  error = pthread_create(&thread, &attributes, body, argument);
  LAW(error == 0, "pthread_create: %s", strerror(error));
  pthread_join(thread, NULL);
  munmap(area, size + 65536);
}

int main(void) {
  in_small_stack(first_free, NULL);
  in_small_stack(first_large, NULL);
  for (int i = 0; i < 20; i++) {
    in_small_stack(everything, NULL);
    in_small_stack(first_free, malloc(100 << i % 12));
    in_small_stack(first_large, NULL);
  }
  in_small_stack(foreign, NULL);
  exercise_heap();
  return 0;
}
