// Files that the library makes (os.h) on Linux.
//
// Always holds: a file is as it was, or whole; where a disk is full, or files may not become so large, there is none.
// Who may use it: through os.h only.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bits.h"
#include "os/os.h"
#include "os/system_call.h"

namespace poolalloc {
namespace {

// Whether a file may have so many bytes: above that limit a write would end the program by a signal.
bool may_be_written(size_t size) {
  rlimit limit{};
  return !failed(system_call(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, as_long(&limit))) && limit.rlim_cur >= size;
}

// Writes all of it to a new file; whether that is done. `flags` say what new is.
bool write_file(const char* path, const char* data, size_t size, int flags, int mode) {
  if (!may_be_written(size)) return false;
  long file = system_call(SYS_openat, AT_FDCWD, as_long(path), O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);
  if (failed(file)) return false;
  while (size != 0) {
    const long written = system_call(SYS_write, file, as_long(data), long(size));
    if (written == -EINTR) continue;
    if (written <= 0) break;
    data += written;
    size -= size_t(written);
  }
  system_call(SYS_close, file);
  if (size != 0) system_call(SYS_unlinkat, AT_FDCWD, as_long(path), 0);
  return size == 0;
}

}  // namespace

bool os_file_exists(const char* path) { return !failed(system_call(SYS_faccessat, AT_FDCWD, as_long(path), F_OK)); }

void* os_map_new_file(const char* path, size_t size) {
  if (!may_be_written(size)) return nullptr;
  long file =
      system_call(SYS_openat, AT_FDCWD, as_long(path), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (failed(file)) return nullptr;
  // Written, so that there is room for it: where a disk is full a mere hole would end the program when it is filled.
  static constexpr char kZeros[kNewFileMost]{};
  long result = -ENOSPC;
  if (size <= sizeof kZeros && system_call(SYS_write, file, as_long(kZeros), long(size)) == long(size))
    result = system_call(SYS_mmap, 0, long(size), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  system_call(SYS_close, file);
  return failed(result) ? nullptr : pointer_to<void>(uintptr_t(result));
}

bool os_file_replace(const char* path, const char* part, const char* data, size_t size) {
  if (!write_file(part, data, size, O_EXCL | O_NOFOLLOW, 0666)) return false;
  bool is_done = !failed(system_call(SYS_renameat2, AT_FDCWD, as_long(part), AT_FDCWD, as_long(path), 0));
  if (!is_done) system_call(SYS_unlinkat, AT_FDCWD, as_long(part), 0);
  return is_done;
}

bool os_file_make(const char* path, const char* data, size_t size) {
  return write_file(path, data, size, O_EXCL | O_NOFOLLOW, 0600);
}

}  // namespace poolalloc
