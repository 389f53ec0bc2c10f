// What other libcs lack of what glibc's headers declare, so that everything else reads the same under each.
//
// Always holds: nothing but declarations under glibc; figures that only glibc's programs ask for keep their shape, so
// that the entry points are the same everywhere.
// Who may use it: everybody.
#pragma once

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <unistd.h>

#if !defined(__GLIBC__)

// mallinfo(3), mallopt(3). As in C, where a function may have the name of a struct.
extern "C" {
struct mallinfo {
  int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct mallinfo2 {
  size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
struct mallinfo mallinfo(void);
struct mallinfo2 mallinfo2(void);
#pragma GCC diagnostic pop
}
enum {
  M_MXFAST = 1,
  M_TRIM_THRESHOLD = -1,
  M_TOP_PAD = -2,
  M_MMAP_THRESHOLD = -3,
  M_MMAP_MAX = -4,
  M_CHECK_ACTION = -5,
  M_PERTURB = -6,
  M_ARENA_TEST = -7,
  M_ARENA_MAX = -8
};

// dlopen(3), dladdr(3). What symbol stands at an address is not known there.
enum { RTLD_DEEPBIND = 0, RTLD_DL_SYMENT = 1 };
inline int dladdr1(const void* address, Dl_info* info, void** symbol, int) {
  *symbol = nullptr;
  return dladdr(address, info);
}

#endif

// _dl_find_object(3), since glibc 2.35. The compiler's unwinder calls it if the compiler was built with such a libc.
#if !defined(DLFO_EH_SEGMENT_TYPE)
struct dl_find_object {
  unsigned long long dlfo_flags;
  void *dlfo_map_start, *dlfo_map_end;
  struct link_map* dlfo_link_map;
  void* dlfo_eh_frame;
  unsigned long long reserved[7];
};
#endif

namespace poolalloc {

// What a constructor is told about the program: by its arguments, or, where libc passes none, by libc's variables.
struct ProgramStart {
  const char* name;  // how it was called; nullptr: not known
  char** environment;
};
inline ProgramStart program_start(char** arguments, char** environment) {
#if defined(__GLIBC__)
  return {arguments != nullptr ? arguments[0] : nullptr, environment};
#else
  return {program_invocation_name, environ};
#endif
}

}  // namespace poolalloc
