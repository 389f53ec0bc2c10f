// The soak program's own memory (own.h).
//
// Who may use it: through own.h.
#include "own.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

int64_t own_bytes = 0;

void print(const char* format, va_list arguments) {
  char line[512];
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  if (length > int(sizeof line) - 2) length = sizeof line - 2;
  line[length++] = '\n';
  if (write(STDOUT_FILENO, line, size_t(length)) != length) _exit(1);
}

}  // namespace

void* own_take(size_t size) {
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  size = (size + page - 1) / page * page;
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) fail("soak: no memory for the program's own records");
  memset(p, 0, size);
  own_bytes += int64_t(size);
  return p;
}

int64_t resident_bytes() {
  char text[128];
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  ssize_t length = file >= 0 ? read(file, text, sizeof text - 1) : -1;
  if (length <= 0) fail("soak: /proc/self/statm cannot be read");
  close(file);
  text[length] = 0;
  char* rest;
  strtoll(text, &rest, 10);
  return strtoll(rest, nullptr, 10) * sysconf(_SC_PAGESIZE) - own_bytes;
}

void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print(format, arguments);
  va_end(arguments);
}

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print(format, arguments);
  va_end(arguments);
  _exit(1);
}
