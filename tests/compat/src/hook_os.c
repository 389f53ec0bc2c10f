/* A preloaded library that interposes the system calls an allocator uses, and asks dlsym for the real one at every call.
 * Always: a call reaches the kernel once. With FAIL_FIRST every call also looks for a symbol that does not exist, so that
 * dlsym allocates its error text inside the hook; a call made meanwhile goes straight to the kernel. */
#include "check.h"
#include <sys/mman.h>
#include <sys/syscall.h>

static __thread volatile int inside;

static void *real(const char *name) {
  if (inside) return NULL;
  inside = 1;
#ifdef FAIL_FIRST
  dlsym(RTLD_NEXT, "no_such_function_anywhere");
#endif
  void *function = dlsym(RTLD_NEXT, name);
  inside = 0;
  return function;
}

#define PASS_ON(type, number, arguments, ...) \
  type (*function) arguments = NULL; \
  *(void **)&function = real(__func__); \
  return function ? function(__VA_ARGS__) : (type)syscall(number, __VA_ARGS__)

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
  PASS_ON(void *, SYS_mmap, (void *, size_t, int, int, int, off_t), address, size, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
  PASS_ON(void *, SYS_mmap, (void *, size_t, int, int, int, off_t), address, size, protection, flags, fd, offset);
}

int munmap(void *address, size_t size) { PASS_ON(int, SYS_munmap, (void *, size_t), address, size); }

int madvise(void *address, size_t size, int advice) {
  PASS_ON(int, SYS_madvise, (void *, size_t, int), address, size, advice);
}

int mprotect(void *address, size_t size, int protection) {
  PASS_ON(int, SYS_mprotect, (void *, size_t, int), address, size, protection);
}

int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int);
  va_end(list);
  PASS_ON(int, SYS_open, (const char *, int, ...), path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int);
  va_end(list);
  PASS_ON(int, SYS_open, (const char *, int, ...), path, flags, mode);
}
