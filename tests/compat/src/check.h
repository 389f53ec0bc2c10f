/* What every program here shares: laws, patterns, and readings of /proc that need no allocation.
 *
 * What always holds: a violated law ends the program at once with one line on stdout and exit code 1; nothing in this
 * file calls the allocator. `opaque` hides a value from the compiler, so that a call which looks wrong is really made. */
#ifndef COMPAT_CHECK_H
#define COMPAT_CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

#ifdef __cplusplus
extern "C" {
#endif
void free_sized(void *block, size_t size) __attribute__((weak));
void free_aligned_sized(void *block, size_t alignment, size_t size) __attribute__((weak));
#ifdef __cplusplus
}
#endif

__attribute__((format(printf, 3, 4), noreturn)) UNUSED static void law_broken(const char *file, int line,
                                                                              const char *format, ...) {
  char text[400];
  const char *name = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
  int used = snprintf(text, sizeof text, "%s:%d: violated: ", name, line);
  va_list list;
  va_start(list, format);
  used += vsnprintf(text + used, sizeof text - used - 1, format, list);
  va_end(list);
  if (used > (int)sizeof text - 2) used = sizeof text - 2;
  text[used++] = '\n';
  if (write(STDOUT_FILENO, text, used) < 0) _exit(2);
  _exit(1);
}

#define LAW(condition, ...) \
  do { \
    if (!(condition)) law_broken(__FILE__, __LINE__, __VA_ARGS__); \
  } while (0)

UNUSED static void *opaque(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

/* A pointer that another allocator may own, for all that the tested one can tell. */
UNUSED static void *foreign_pointer(void) {
  static char *page;
  if (!page) page = (char *)mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  LAW((void *)page != MAP_FAILED, "mmap");
  return opaque(page + 64);
}

UNUSED static size_t opaque_n(size_t number) {
  __asm__ volatile("" : "+r"(number));
  return number;
}

/* Writes or checks a pattern that depends on the seed and on the place, so that shifted bytes are seen too. */
UNUSED static unsigned char pattern_at(size_t place, unsigned seed) {
  return (unsigned char)((place * 131) ^ (place >> 8) ^ (seed * 29 + 7));
}

UNUSED static void fill(void *block, size_t size, unsigned seed) {
  unsigned char *bytes = (unsigned char *)block;
  for (size_t i = 0; i < size; i++) bytes[i] = pattern_at(i, seed);
}

UNUSED static int filled(const void *block, size_t size, unsigned seed) {
  const unsigned char *bytes = (const unsigned char *)block;
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != pattern_at(i, seed)) return 0;
  return 1;
}

/* The same for the first and last 64 bytes and one byte in each 4 KiB (of blocks above 1 MiB: 256 bytes spread evenly),
 * for blocks too large to be written whole. */
UNUSED static size_t next_place(size_t place, size_t size) {
  if (place < 64 || place + 64 >= size) return place + 1;
  size_t step = size <= MIB ? 4096 : size / 256, rest = size - 64 - place;
  return place + (step < rest ? step : rest);
}

UNUSED static void fill_some(void *block, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i = next_place(i, size)) ((unsigned char *)block)[i] = pattern_at(i, seed);
}

UNUSED static int filled_some(const void *block, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i = next_place(i, size))
    if (((const unsigned char *)block)[i] != pattern_at(i, seed)) return 0;
  return 1;
}

UNUSED static int all_zero(const void *block, size_t size) {
  const unsigned char *bytes = (const unsigned char *)block;
  if (size == 0) return 1;
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* A number out of a file of /proc; -1: there is none of that name. */
UNUSED static long proc_field(const char *path, const char *name) {
  char text[8192];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t used = read(fd, text, sizeof text - 1);
  close(fd);
  if (used <= 0) return -1;
  text[used] = 0;
  const char *found = strstr(text, name);
  return found ? strtol(found + strlen(name), NULL, 10) : -1;
}

/* Such as status_field("VmRSS:") in KiB or status_field("Threads:"). */
UNUSED static long status_field(const char *name) { return proc_field("/proc/self/status", name); }

/* KiB of all mappings together, such as rollup_kib("Private_Dirty:"). */
UNUSED static long rollup_kib(const char *name) {
  long kib = proc_field("/proc/self/smaps_rollup", name);
  LAW(kib >= 0, "no %s in smaps_rollup", name);
  return kib;
}

/* In bytes: the kernel's, or what the checking build plays. */
UNUSED static size_t page_size(void) {
  const char *played = getenv("POOLALLOC_TEST_PAGE_SIZE");
  return played ? (size_t)atol(played) : (size_t)sysconf(_SC_PAGESIZE);
}

UNUSED static long rss_kib(void) { return status_field("VmRSS:"); }

UNUSED static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

UNUSED static uint64_t random_next(uint64_t *state) {
  *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
  return *state >> 33;
}

/* A size as programs ask for it: mostly small, now and then up to `largest`. */
UNUSED static size_t random_size(uint64_t *state, size_t largest) {
  size_t size = (size_t)1 << (random_next(state) % 12);
  if (random_next(state) % 64 == 0) size = largest;
  return 1 + random_next(state) % size;
}

/* True when the function belongs to the library under test, which the environment names; always true when it names none. */
UNUSED static int from_tested_lib(void *function) {
  static char wanted[PATH_MAX], found[PATH_MAX];
  const char *name = getenv("COMPAT_LIB");
  Dl_info info;
  if (!name || !*name) return 1;
  if (!dladdr(function, &info) || !info.dli_fname) return 0;
  return realpath(name, wanted) && realpath(info.dli_fname, found) && strcmp(wanted, found) == 0;
}

UNUSED static void start_thread(pthread_t *thread, void *(*body)(void *), void *argument) {
  int error = pthread_create(thread, NULL, body, argument);
  LAW(error == 0, "pthread_create: %s", strerror(error));
}

/* Every entry point once, for every size up to 2 MiB by steps of a quarter: the shortest look at a healthy heap. */
UNUSED static void exercise_heap(void) {
  static const size_t alignments[] = {8, 16, 64, 4096, 1 << 16};
  for (size_t size = 1; size < 2 * MIB; size += size / 4 + 1) {
    unsigned seed = (unsigned)size;
    unsigned char *block = (unsigned char *)malloc(size);
    LAW(block && malloc_usable_size(block) >= size, "malloc(%zu) gave %p", size, (void *)block);
    fill_some(block, size, seed);
    unsigned char *zero = (unsigned char *)calloc(1, size);
    LAW(zero && all_zero(zero, size), "calloc(1, %zu) not zero", size);
    void *aligned = NULL;
    size_t alignment = alignments[size % 5];
    LAW(posix_memalign(&aligned, alignment, size) == 0 && (uintptr_t)aligned % alignment == 0,
        "posix_memalign(%zu, %zu) gave %p", alignment, size, aligned);
    fill_some(aligned, size, seed + 1);
    LAW(filled_some(block, size, seed), "a block of %zu bytes was changed by its neighbours", size);
    block = (unsigned char *)realloc(block, size * 2);
    LAW(block && filled_some(block, size, seed), "realloc from %zu lost bytes", size);
    free(zero);
    free(aligned);
    free(block);
  }
}

#endif
