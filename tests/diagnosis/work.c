/* work [error]: threads that allocate, grow and free; with `error` a byte behind a block is written, or seven blocks are lost,
 * or a block is freed twice.
 * LARGE: bytes of the largest blocks. Always: prints "done" if it gets to its end, and then exits with 5. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef LARGE
#define LARGE 100000
#endif
static void *volatile kept[100];

static void *body(void *argument) {
  for (size_t i = 1; i < 2000; i++) {
    char *block = malloc(i);
    memset(block, 1, i);
    block = realloc(block, 2 * i);
    if (i < 100) block = memset(realloc(block, LARGE), 2, LARGE);
    free(block);
  }
  return argument;
}

__attribute__((noinline)) static void lose(int count) {
  for (int i = 0; i < count; i++) {
    void *volatile lost = malloc(40);
    memset(lost, 1, 40);
  }
}

__attribute__((noinline)) static void wipe_stack(void) {
  volatile char rest[4096];
  memset((void *)rest, 0, sizeof rest);
}

int main(int argc, char **argv) {
  const char *error = argc > 1 ? argv[1] : "";
  pthread_t threads[4];
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, body, NULL);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 100; i++) kept[i] = malloc(100 + (size_t)i * 10);
  if (strcmp(error, "overflow") == 0) {
    char *volatile block = malloc(10);
    block[10] = 1;
    free(block);
  }
  if (strcmp(error, "leak") == 0) lose(7);
  if (strcmp(error, "double") == 0) {
    void *volatile block = malloc(48);
    free(block);
    free(block);
  }
  wipe_stack();
  puts("done");
  return 5;
}
