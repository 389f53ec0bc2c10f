// A kernel with larger pages, played for tests, and what every kernel demands of calls about pages.
//
// Always holds: only builds with -Dchecks=full have it; there each mmap, munmap, mremap, madvise and mprotect of the
// library comes by. One whose address or length is not whole pages ends the program. POOLALLOC_TEST_PAGE_SIZE, bytes,
// makes pages larger than the kernel's own: whole pages of both, so that the real kernel serves them.
// Who may use it: system_call.h, and os_page_size.
#pragma once

#include <stddef.h>

#include "base/check.h"

namespace poolalloc {

inline constexpr bool kHasTestedPages = kCheckLevel >= 2;

// What the environment says; without it `own`, the size of the kernel's pages.
size_t tested_page_size(size_t own);

// Whether the call is one of the five.
bool is_about_pages(long number);
// Makes such a call, as a kernel does whose pages have os_page_size() bytes: what it maps begins with a page.
long call_about_pages(long number, const long (&arguments)[6]);

}  // namespace poolalloc
