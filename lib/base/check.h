// Three tiers of checks. All of them compile in every build.
//
//   PA_VERIFY  always on; used only off the fast paths
//   PA_ASSERT  -Dchecks=basic and full: cheap invariants
//   PA_CHECK   -Dchecks=full: whole-structure invariant checkers, linear in what they look at
//
// Always holds: a failing check prints one line with our prefix and aborts; it never returns.
// Who may use it: everybody.
#pragma once

#ifndef POOLALLOC_CHECKS
#define POOLALLOC_CHECKS 0
#endif

#define PA_LIKELY(x) __builtin_expect(!!(x), 1)
#define PA_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define PA_NOINLINE __attribute__((noinline))
#define PA_COLD __attribute__((noinline, cold))
#define PA_INLINE inline __attribute__((always_inline))
// A function that reads what others may be writing, and does not trust it.
#define PA_RACY __attribute__((no_sanitize("thread")))

// A variable that holds addresses of memory that the library hands out, or may: they are no references of the
// program's (inspect/leaks.h).
#define PA_NOTE __attribute__((section("poolalloc_notes")))

namespace poolalloc {

inline constexpr int kCheckLevel = POOLALLOC_CHECKS;

// Defined in the os layer, which alone may write.
[[noreturn]] PA_COLD void check_failed(const char* condition, const char* file, int line);

}  // namespace poolalloc

#define PA_CHECK_AT(level, condition)                                     \
  do {                                                                    \
    if (::poolalloc::kCheckLevel >= (level) && PA_UNLIKELY(!(condition))) \
      ::poolalloc::check_failed(#condition, __FILE__, __LINE__);          \
  } while (0)

#define PA_VERIFY(condition) PA_CHECK_AT(0, condition)
#define PA_ASSERT(condition) PA_CHECK_AT(1, condition)
#define PA_CHECK(condition) PA_CHECK_AT(2, condition)
