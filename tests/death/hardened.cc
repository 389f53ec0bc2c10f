// hardened KIND SIZE MAKE FREE WHERE [COUNT]: misuses a block of SIZE bytes made by MAKE, as only the hardened library
// notices it.
//
//   KIND   none       nothing wrong
//          double     freed twice; delayed: and many others come and go between; reused: after it was handed out again
//          inside     a pointer into the block is freed; unaligned: its second byte
//          overflow, underflow    COUNT bytes behind the block, or in front of it, are written, and it is freed; -next: and
//                     one more is made
//          beyond     one byte is written, COUNT bytes behind the block's end
//          copied     the COUNT bytes behind the block are made what stands behind another one of its size
//          last       written to after it was freed, as the last one; later: and others were freed meanwhile
//          read, write    a byte of the block, as it is
//          freed-read, freed-write    the same when it is freed
//          wrong      freed with the wrong size, where FREE has one
//   MAKE   malloc, calloc, memalign, realloc, new, new[], new-aligned
//   FREE   free, cfree, free_sized, realloc, delete, delete[], delete-sized, delete[]-sized, delete-aligned
//   WHERE  here, thread: what is wrong is done by a second thread; made: the block is made by another one
//
// Always holds: prints the block and the misused pointer, and "alive" if it gets to the end.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <new>

extern "C" {
void cfree(void*) __attribute__((weak));
void free_sized(void*, size_t) __attribute__((weak));
}

static const char *kind, *maker, *freer, *where;
static size_t size, count;
static char* block;
static char* volatile target;

static bool is(const char* a, const char* b) { return strcmp(a, b) == 0; }
static bool begins(const char* a, const char* b) { return strncmp(a, b, strlen(b)) == 0; }

static char* make() {
  void* p = nullptr;
  if (is(maker, "malloc")) p = malloc(size);
  if (is(maker, "calloc")) p = calloc(1, size);
  if (is(maker, "memalign")) p = memalign(64, size);
  if (is(maker, "realloc")) p = realloc(size != 0 ? malloc(size / 2) : nullptr, size);
  if (is(maker, "new")) p = operator new(size);
  if (is(maker, "new[]")) p = operator new[](size);
  if (is(maker, "new-aligned")) p = operator new(size, std::align_val_t(64));
  if (p == nullptr) _exit(3);
  return static_cast<char*>(p);
}

static void release(char* p, size_t bytes) {
  if (is(freer, "free")) free(p);
  if (is(freer, "cfree")) cfree(p);
  if (is(freer, "free_sized")) free_sized(p, bytes);
  if (is(freer, "realloc")) free(realloc(p, bytes + 100));
  if (is(freer, "delete")) operator delete(p);
  if (is(freer, "delete[]")) operator delete[](p);
  if (is(freer, "delete-sized")) operator delete(p, bytes);
  if (is(freer, "delete[]-sized")) operator delete[](p, bytes);
  if (is(freer, "delete-aligned")) operator delete(p, std::align_val_t(64));
}

// Blocks that are alive around the misused one.
enum { around = 40, kept = 12 };
static char *before[around], *after[around];

static void come_and_go(int times) {
  for (int i = 0; i < times; i++) free(malloc(size));
}

// So many that what is in quarantine leaves it; also the neighbours, so that the block's pool is taken from again. `stays`:
// those that were made just before and after are kept, and so the pool is.
static void flood(bool stays) {
  for (int i = 0; i < around; i++) {
    if (before[i] != nullptr && !(stays && i >= around - kept)) release(before[i], size);
    if (after[i] != nullptr && !(stays && i < kept)) release(after[i], size);
    before[i] = after[i] = nullptr;
  }
  static char* many[1000];
  for (char*& each : many) each = make();
  for (char* each : many) release(each, size);
}

static void make_it() {
  bool is_small = size < 30000;
  for (int i = 0; i < (is_small ? around : 2); i++) before[i] = make();
  // Not the first one of a slice: what is in front of that is no block.
  do block = make();
  while (size != 0 && size <= 40000 && reinterpret_cast<uintptr_t>(block) % 65536 == 0);
  // -next: it is the one that was made last.
  for (int i = 0; i < (is_small ? around : 2) && strstr(kind, "-next") == nullptr; i++) after[i] = make();
  if (size != 0) memset(block, 'x', size);
}

static void first() {
  bool is_freed = is(kind, "double") || is(kind, "delayed") || is(kind, "reused") || is(kind, "last") ||
                  is(kind, "later") || begins(kind, "freed");
  if (is_freed) release(block, size);
  if (is(kind, "delayed")) come_and_go(size < 65536 ? 1000 : 100);
  if (is(kind, "reused")) {
    // A block of a thread that has ended comes back with its whole pool only.
    flood(!is(where, "made"));
    for (int i = 0; make() != block; i++) {
      if (i == 1000000) _exit(7);
    }
    release(block, size);
  }
}

// Whatever stands there is another byte then.
static void change(char* from) {
  for (size_t i = 0; i < count; i++) from[i] = static_cast<char>(~from[i]);
}

static void misuse() {
  target = block;
  if (is(kind, "inside")) target = block + size / 2 / 16 * 16;
  if (is(kind, "unaligned")) target = block + 1;
  printf("%p %p\n", static_cast<void*>(block), static_cast<void*>(target));
  fflush(stdout);
  if (begins(kind, "overflow")) change(target + size);
  if (begins(kind, "underflow")) change(target - count);
  if (is(kind, "beyond")) target[size + count] = static_cast<char>(~target[size + count]);
  if (is(kind, "copied")) memcpy(target + size, before[0] + size, count);
  if (is(kind, "last")) target[size / 2] = 'A', free(malloc(100));
  if (is(kind, "later")) {
    // Behind what the library keeps in free blocks.
    target[size - 1] = 'A';
    flood(true);
    for (int i = 0; i < 20000; i++) {
      if (malloc(size) == nullptr) _exit(9);
    }
  }
  if (is(kind, "read") || is(kind, "freed-read")) printf("%d\n", *static_cast<volatile char*>(target));
  if (is(kind, "write") || is(kind, "freed-write")) *static_cast<volatile char*>(target) = 1;
  if (strstr(kind, "-next")) {
    free(malloc(100));
  } else if (is(kind, "wrong")) {
    release(target, size + 1);
  } else if (!is(kind, "last") && !is(kind, "later") && !is(kind, "read") && !is(kind, "write") && !begins(kind, "freed")) {
    release(target, size);
  }
}

static void do_in(void (*step)(), bool apart) {
  pthread_t thread;
  auto start = [](void* of) -> void* { return reinterpret_cast<void (*)()>(of)(), nullptr; };
  if (!apart) {
    step();
  } else if (pthread_create(&thread, nullptr, start, reinterpret_cast<void*>(step)) != 0 || pthread_join(thread, nullptr)) {
    _exit(8);
  }
}

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  kind = argv[1], size = strtoull(argv[2], nullptr, 10), maker = argv[3], freer = argv[4], where = argv[5];
  count = argc > 6 ? strtoull(argv[6], nullptr, 10) : 0;
  // So that it makes no block of its own.
  setvbuf(stdout, nullptr, _IONBF, 0);
  do_in(make_it, is(where, "made"));
  do_in(first, false);
  do_in(misuse, is(where, "thread"));
  puts("alive");
  return 0;
}
