/* misuse KIND SIZE FUNCTION WHERE: misuses a block of SIZE bytes by FUNCTION, a symbol that is given the pointer.
 *
 *   KIND   double       freed twice                        interleaved  another block is freed in between
 *          delayed      a thousand pairs in between        reused       the block was handed out and freed again
 *          neighbours   all blocks around it are in use again
 *          written      written to after it was freed; then blocks of that size are allocated
 *          overflowed   the block before it is written beyond its end
 *          inside       not its start                      unaligned    one byte behind its start
 *          unused       a block's start that was never handed out
 *          records      the front of the chunk
 *          none         no misuse
 *   WHERE  here, thread (the misuse in a second thread), freed (the first free there), or both
 *
 * Always holds: prints the pointer, and "alive" if it gets to the end, where blocks are still handed out once each.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *kind, *function, *where;
static size_t size;
static char* block;
static void* others[2000];

static int is(const char* a, const char* b) { return strcmp(a, b) == 0; }

static void release(void* p) {
  union {
    void* symbol;
    void (*one)(void*);
    void (*two)(void*, size_t);
    void* (*resize)(void*, size_t);
  } call = {dlsym(RTLD_DEFAULT, function)};
  if (!call.symbol) _Exit(4);
  if (is(function, "realloc")) {
    if (call.resize(p, size + 100)) _Exit(5);
  } else if (is(function, "free_sized") || is(function, "_ZdlPvm") || is(function, "_ZdaPvm")) {
    call.two(p, size);
  } else {
    call.one(p);
  }
}

static void* first(void* unused) {
  free(block);
  if (is(kind, "interleaved")) free(others[0]);
  if (is(kind, "delayed")) {
    for (int i = 0; i < 1000; i++) free(malloc(size));
  }
  if (is(kind, "neighbours")) {
    free(others[1]);
    for (int i = 2; i < 12; i++) free(others[i]);
    for (int i = 2; i < 12; i++) others[i] = malloc(size / 2 + 1);
  }
  if (is(kind, "written")) memset(block, 'A', 8);
  if (is(kind, "overflowed")) memset(block - 8, 'A', 16);
  return unused;
}

static void* second(void* unused) {
  if (is(kind, "reused")) {
    char* again = malloc(size);
    if (again != block) _Exit(6);
    free(again);
  }
  if (is(kind, "written") || is(kind, "overflowed")) {
    for (int i = 0; i < 100; i++) others[100 + i] = malloc(size);
  } else if (is(kind, "inside")) {
    release(block + size / 2 / 16 * 16);
  } else if (is(kind, "unaligned")) {
    release(block + 1);
  } else if (is(kind, "unused")) {
    release(block + (65536 / size - 3) * size - (uintptr_t)block % 65536 / size * size);
  } else if (is(kind, "records")) {
    release((void*)((uintptr_t)block & ~(uintptr_t)0x3fffff));
  } else if (!is(kind, "none")) {
    release(block);
  }
  return unused;
}

static void in_thread(void* (*step)(void*), int apart) {
  pthread_t thread;
  if (!apart) {
    step(NULL);
  } else if (pthread_create(&thread, NULL, step, NULL) != 0 || pthread_join(thread, NULL) != 0) {
    _Exit(7);
  }
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  kind = argv[1], size = strtoull(argv[2], NULL, 10), function = argv[3], where = argv[4];
  int keeps = is(kind, "inside") || is(kind, "unaligned") || is(kind, "unused") || is(kind, "records");
  for (int i = 0; i < 40; i++) others[i] = malloc(size);
  block = malloc(size);
  for (int i = 40; i < 60; i++) others[i] = malloc(size);
  memset(block, 'x', size);
  printf("%p\n", (void*)block);
  fflush(stdout);
  if (!keeps) in_thread(first, is(where, "freed") || is(where, "both"));
  in_thread(second, is(where, "thread") || is(where, "both"));
  enum { many = 500 };
  static char* made[many];
  for (int i = 0; i < many; i++) {
    if (!(made[i] = malloc(size))) return 8;
    memcpy(made[i], &i, sizeof i);
    if (keeps && made[i] == block) return 9;
  }
  for (int i = 0; i < many; i++) {
    if (memcmp(made[i], &i, sizeof i) != 0) return 10;
    free(made[i]);
  }
  puts("alive");
  return 0;
}
