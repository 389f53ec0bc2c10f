// A kernel with larger pages, on one with smaller ones (tested_pages.h).
//
// Always holds: asks the kernel itself, past the tests that let calls fail; nothing is allocated. What cannot be had
// with larger pages fails with ENOMEM, and has changed nothing.
// Who may use it: through tested_pages.h.
#include "os/tested_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/constants.h"
#include "os/os.h"
#include "os/system_call.h"

namespace poolalloc {
namespace {

long call_map(uintptr_t at, size_t size, int protection, int flags, long file = -1, long offset = 0) {
  return kernel_call_as_is(SYS_mmap, long(at), long(size), protection, flags, file, offset);
}
void call_unmap(uintptr_t start, uintptr_t end) {
  if (start != end) kernel_call_as_is(SYS_munmap, long(start), long(end - start), 0, 0, 0, 0);
}

bool is_whole(long bytes) { return size_t(bytes) % os_page_size() == 0; }
// A result that a kernel with such pages may give.
bool is_possible(long result) { return failed(result) || is_whole(result); }

// Address space of whole pages, in which nothing can be read or written; 0: there is none.
uintptr_t place_take(size_t size) {
  const size_t page = os_page_size();
  const long wide = call_map(0, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (failed(wide)) return 0;
  const uintptr_t start = round_up(uintptr_t(wide), page);
  call_unmap(uintptr_t(wide), start);
  call_unmap(start + size, uintptr_t(wide) + size + page);
  return start;
}

long map_whole_pages(const long (&a)[6]) {
  const bool is_fixed = (a[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0, is_file = (a[3] & MAP_ANONYMOUS) == 0;
  const size_t size = round_up(size_t(a[1]), os_page_size());
  PA_VERIFY(is_whole(a[0]) && (is_file || is_whole(a[1])));
  // Above that the kernel maps only who asks for it by a hint: no table of the library's reaches there.
  PA_VERIFY(uintptr_t(a[0]) >> kAddressBits == 0);
  // The rest of a file's last page would be missing.
  if (!is_file || size == size_t(a[1])) {
    const long result = kernel_call_as_is(SYS_mmap, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (is_fixed || is_possible(result)) return result;
    call_unmap(uintptr_t(result), uintptr_t(result) + size);
  }
  const uintptr_t place = place_take(size);
  if (place == 0) return -ENOMEM;
  const long result = call_map(place, size_t(a[1]), int(a[2]), int(a[3]) | MAP_FIXED, a[4], a[5]);
  if (failed(result)) call_unmap(place, place + size);
  return result;
}

// In place, or to where whole pages are free.
long move_whole_pages(const long (&a)[6]) {
  PA_VERIFY(is_whole(a[0]) && is_whole(a[1]) && is_whole(a[2]) && a[3] == MREMAP_MAYMOVE);
  const long result = kernel_call_as_is(SYS_mremap, a[0], a[1], a[2], 0, 0, 0);
  if (!failed(result)) return result;
  const uintptr_t place = place_take(size_t(a[2]));
  if (place == 0) return -ENOMEM;
  const long moved = kernel_call_as_is(SYS_mremap, a[0], a[1], a[2], MREMAP_MAYMOVE | MREMAP_FIXED, long(place), 0);
  if (failed(moved)) call_unmap(place, place + size_t(a[2]));
  return moved;
}

// The number behind "NAME=" in the environment that the kernel has kept, which is there before libc knows it; 0: none.
size_t number_in_environment(const char* name) {
  const long file =
      kernel_call_as_is(SYS_openat, AT_FDCWD, as_long("/proc/self/environ"), O_RDONLY | O_CLOEXEC, 0, 0, 0);
  if (failed(file)) return 0;
  size_t number = 0;
  const char* next = name;  // what must come next; nullptr: this variable is another one
  char text[512];
  for (long length; (length = kernel_call_as_is(SYS_read, file, as_long(text), sizeof text, 0, 0, 0)) > 0;) {
    for (long i = 0; i < length; i++) {
      const char c = text[i];
      if (c == 0) {
        next = name;
      } else if (next != nullptr && *next == 0) {
        number = number * 10 + size_t(c - '0');
      } else {
        next = next != nullptr && c == *next ? next + 1 : nullptr;
      }
    }
  }
  kernel_call_as_is(SYS_close, file, 0, 0, 0, 0, 0);
  return number;
}

}  // namespace

size_t tested_page_size(size_t own) {
  const size_t said = number_in_environment("POOLALLOC_TEST_PAGE_SIZE=");
  if (said == 0) return own;
  PA_VERIFY(is_power_of_two(said) && said >= own && said <= kSliceSize);
  return said;
}

bool is_about_pages(long number) {
  return number == SYS_mmap || number == SYS_munmap || number == SYS_mremap || number == SYS_madvise ||
         number == SYS_mprotect;
}

long call_about_pages(long number, const long (&a)[6]) {
  if (number == SYS_mmap) return map_whole_pages(a);
  if (number == SYS_mremap) return move_whole_pages(a);
  PA_VERIFY(is_whole(a[0]) && is_whole(a[1]));
  return kernel_call_as_is(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

}  // namespace poolalloc
