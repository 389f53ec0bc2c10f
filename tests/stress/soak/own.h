// Memory for the soak program's own records, what is resident, and the program's lines.
//
// Always holds: none of it comes from the allocator that is judged; all own memory is resident from the start, so what
// else is resident is the allocator's and, a few MiB, the program's code. Who may use it: the soak program.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Zeroed, aligned to a page, and never given back. Only before there are other threads.
void* own_take(size_t size);
template <typename T>
T* own_array(size_t count) {
  return static_cast<T*>(own_take(count * sizeof(T)));
}

// What the process has resident without own memory, in bytes.
int64_t resident_bytes();

// One line on stdout.
__attribute__((format(printf, 1, 2))) void say(const char* format, ...);

// The same, and the process ends with status 1.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...);

constexpr size_t kKiB = 1024;
constexpr size_t kMiB = kKiB * 1024;
inline double mib(double bytes) { return bytes / double(kMiB); }
