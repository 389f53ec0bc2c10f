/* misuse KIND SIZE FUNCTION WHERE [THREADS]: misuses a block of SIZE bytes by FUNCTION, a symbol that is given the
 * pointer.
 *
 *   KIND   double       freed twice                        interleaved  another block is freed in between
 *          delayed      a thousand pairs in between        reused       the block was handed out and freed again
 *          neighbours   all blocks around it are in use again
 *          written      written to after it was freed; then blocks of that size are allocated
 *          overflowed   the block before it is written beyond its end
 *          uppermost    written to, and the first of a list of others that were freed
 *          inside       not its start                      unaligned    one byte behind its start
 *          unused       a block's start that was never handed out
 *          records      among the records in the chunk's header
 *          stack, variable, code, literal, unmapped, wild, odd, mapping   no block at all
 *          none         no misuse
 *   THREADS  so many others allocate meanwhile, and a handler of SIGABRT does so, says "handled" and exits with 42
 *   WHERE  here, thread (the misuse in a second thread), freed (the first free there), or both (in two threads)
 *
 * Always holds: prints the block and the misused pointer, and "alive" if it gets to the end, where blocks are still
 * handed out once each. free and its relatives keep errno, realloc refuses with EINVAL.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "step.h"

enum { around = 20, some = 12, most = 3000 };
static const char *kind, *function, *where;
static size_t size;
static char *block, *target;
static char *before[2 * around], *after[around];
static void* more[most];
static char variable[64];

static int is(const char* a, const char* b) { return strcmp(a, b) == 0; }

static void release(void* p) {
  union {
    void* symbol;
    void* (*call)(void*, size_t, size_t);
  } f = {dlsym(RTLD_DEFAULT, function)};
  if (!f.symbol) _Exit(4);
  errno = 12345;
  if (strstr(function, "reallocarray")) {
    if (f.call(p, 1, size + 100) || errno != EINVAL) _Exit(5);
  } else if (strstr(function, "realloc")) {
    if (f.call(p, size + 100, 0) || errno != EINVAL) _Exit(5);
  } else {
    is(function, "free_aligned_sized") ? f.call(p, 16, size) : f.call(p, size, 16);
    if (errno != 12345) _Exit(6);
  }
}

static char* choose(char* local) {
  if (is(kind, "inside")) return block + size / 2 / 8 * 8;
  if (is(kind, "unaligned")) return block + 1;
  if (is(kind, "records")) return (char*)((uintptr_t)block & ~(uintptr_t)0x3fffff) + 0xf000 + 320;
  if (is(kind, "stack")) return local;
  if (is(kind, "odd")) return local + 1;
  if (is(kind, "variable")) return variable;
  if (is(kind, "code")) return (char*)((uintptr_t)&choose & ~(uintptr_t)15);
  if (is(kind, "literal")) return (char*)((uintptr_t) "a literal of more than sixteen bytes" & ~(uintptr_t)15);
  if (is(kind, "unmapped")) return (char*)4096;
  if (is(kind, "wild")) return (char*)0x4141414141414140;
  if (is(kind, "mapping")) return mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (is(kind, "unused")) {
    uintptr_t last = (uintptr_t)after[around - 1], slice = last & ~(uintptr_t)0xffff;
    size_t each = malloc_usable_size((void*)last), span = slice % 0x400000 == 0 ? 61120 : 65536;
    return (char*)slice + (span / each - 1) * each;
  }
  return block;
}

static int is_freed_first(void) {
  static const char* const kinds[] = {"double",     "delayed", "interleaved", "reused",
                                      "neighbours", "written", "overflowed",  "uppermost"};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (is(kind, kinds[i])) return 1;
  }
  return 0;
}

/* So that the block's pool is one that blocks are taken from. */
static void free_some(void) {
  if (size > 65536) return;
  for (int i = around; i < around + some; i++) free(before[i]), before[i] = NULL;
  if (is(kind, "neighbours")) return;
  /* One at least is in the block's pool: where a pool has few blocks, the block alone does not bring it back. */
  free(after[0]), free(before[2 * around - 2]);
}

static void* first(void* unused) {
  if (is(kind, "uppermost")) free_some();
  free(block);
  if (is(kind, "interleaved")) free(before[0]);
  if (is(kind, "delayed")) {
    for (int i = 0; i < 1000; i++) free(malloc(size));
  }
  if (is(kind, "neighbours")) {
    free_some();
    for (int i = around; i < around + some; i++) {
      before[i] = malloc(size);
      if (before[i] != block) continue;
      before[i] = malloc(size);
      free(block);
    }
  }
  if (is(kind, "reused") || is(kind, "written") || is(kind, "overflowed")) free_some();
  if (is(kind, "written") || is(kind, "uppermost")) memset(block, 'A', 8);
  if (is(kind, "overflowed")) memset(block - 8, 'A', 16);
  return unused;
}

static void reuse(void) {
  int i = 0;
  while (i < most && (more[i] = malloc(size)) != block) i++;
  if (i == most) _Exit(7);
  free(block);
}

static void* second(void* unused) {
  char local[64] __attribute__((aligned(16)));
  target = choose(local);
  printf("%p\n", (void*)target);
  fflush(stdout);
  if (is(kind, "written") || is(kind, "overflowed") || is(kind, "uppermost")) {
    for (int i = 0; i < 100; i++) {
      if (!(more[i] = malloc(size))) _Exit(12);
    }
  } else if (!is(kind, "none")) {
    release(target);
  }
  return unused;
}

/* Blocks of all sizes, large ones too, whose ends are written. */
static int work(int seed) {
  static const size_t sizes[] = {1, 16, 48, 100, 1000, 1024, 5000, 40000, 65536, 70000, 300000, 3 << 20};
  enum { each = sizeof sizes / sizeof *sizes, count = 8 * each };
  unsigned char* made[count];
  for (int i = 0; i < count; i++) {
    size_t bytes = i % 2 ? sizes[i % each] : size;
    if (bytes > 65536 && i > 2 * each) bytes = 64;
    if (!(made[i] = malloc(bytes))) return 0;
    made[i][0] = made[i][bytes - 1] = (unsigned char)(seed + i);
  }
  for (int i = 0; i < count; i++) {
    if (made[i][0] != (unsigned char)(seed + i)) return 0;
    free(made[i]);
  }
  return 1;
}

static void on_abort(int number) {
  for (int i = 0; i < 20; i++) {
    if (!work(i)) _exit(43);
  }
  printf("%s after signal %d\n", "handled", number);
  fflush(stdout);
  _exit(42);
}

static void* work_on(void* unused) {
  for (int i = 0;; i++) {
    if (!work(i)) _exit(44);
  }
  return unused;
}

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return 2;
  kind = argv[1], size = strtoull(argv[2], NULL, 10), function = argv[3], where = argv[4];
  int is_large = size > 65536;
  for (int i = 0; i < (is_large ? 2 : 2 * around); i++) before[i] = malloc(size);
  block = malloc(size);
  for (int i = 0; i < (is_large ? 2 : around); i++) after[i] = malloc(size);
  if (!block) return 3;
  printf("%p\n", (void*)block);
  fflush(stdout);
  memset(block, 'x', size);
  if (argc == 6) signal(SIGABRT, on_abort);
  for (int i = argc == 6 ? atoi(argv[5]) : 0; i > 0; i--) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work_on, NULL) != 0) return 8;
  }
  if (is_freed_first()) in_thread(first, is(where, "freed") || is(where, "both"));
  if (is(kind, "reused")) reuse();
  in_thread(second, is(where, "thread") || is(where, "both"));

  static char* made[1000];
  int many = is_large ? 20 : 1000;
  for (int i = 0; i < many; i++) {
    if (!(made[i] = malloc(size))) return 9;
    if (!is_freed_first() && made[i] == block) return 10;
    memcpy(made[i], &i, sizeof i);
  }
  for (int i = 0; i < many; i++) {
    if (memcmp(made[i], &i, sizeof i) != 0) return 11;
    free(made[i]);
  }
  /* It may be another thread that says so. */
  if (argc == 6) sleep(10);
  puts("alive");
  return 0;
}
