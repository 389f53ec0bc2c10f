// How a system call is made without libc.
//
// Always holds: errno is left alone; a result from -4095 to -1 is a negated errno value.
// Who may use it: the files of the os layer only.
#pragma once

#include <sys/syscall.h>

#include "base/bits.h"
#include "os/fault.h"
#include "os/os.h"
#include "os/tested_pages.h"

namespace poolalloc {

// A system call's result: -4095..-1 is a negated errno value, everything else success.
inline bool failed(long result) { return result < 0 && result >= -4095; }

// A pointer as an argument of a system call.
inline long as_long(const volatile void* p) { return long(address_of(p)); }

inline long kernel_call_as_is(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ __volatile__("syscall"
                       : "=a"(result)
                       : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                       : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ __volatile__("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
#else
#error "libpoolalloc knows the system call conventions of x86-64 and aarch64"
#endif
}

inline long kernel_call(long number, long a, long b, long c, long d, long e, long f) {
  if constexpr (kHasTestedPages) {
    if (is_about_pages(number)) return call_about_pages(number, {a, b, c, d, e, f});
  }
  return kernel_call_as_is(number, a, b, c, d, e, f);
}

constexpr OsCall os_call_kind(long number) {
  switch (number) {
    case SYS_mmap:
      return OsCall::map;
    case SYS_munmap:
      return OsCall::unmap;
    case SYS_mremap:
      return OsCall::move;
    case SYS_madvise:
      return OsCall::advise;
    case SYS_mprotect:
      return OsCall::protect;
    case SYS_futex:
      return OsCall::wait;
    default:
      return OsCall::other;
  }
}

inline long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  os_calls[unsigned(os_call_kind(number))].add_relaxed(1);
  if constexpr (kHasFaults) {
    if (StandIn answer = stand_in.load_relaxed()) return answer(number, {a, b, c, d, e, f});
  }
  return kernel_call(number, a, b, c, d, e, f);
}

}  // namespace poolalloc
