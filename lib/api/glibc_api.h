// glibc's questions to its allocator: mallinfo and its relatives, with true figures.
//
// Always holds: thread-safe; none of them allocates but through the FILE it writes to.
// Who may use it: interpose.
#pragma once

#include <stdio.h>

#include "os/libc.h"

namespace poolalloc {

// malloc_trim(3): gives back all free memory that can be; 1 if there was any. The padding is ignored.
int api_malloc_trim(size_t pad);
// mallopt(3): parameters that glibc knows are accepted (1) and have no effect here; others give 0.
int api_mallopt(int parameter, int value);
// mallinfo(3). arena + hblkhd is mapped, uordblks live, fordblks free; mallinfo saturates at INT_MAX.
struct mallinfo2 api_mallinfo2();
struct mallinfo api_mallinfo();
// malloc_info(3): well-formed XML. EINVAL for options other than 0.
int api_malloc_info(int options, FILE* stream);
// malloc_stats(3): the summary on stderr.
void api_malloc_stats();

}  // namespace poolalloc
