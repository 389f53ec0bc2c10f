// What the kernel says in files: resident memory, and limits of memory (os.h) on Linux.
//
// Always holds: files are read once, into the stack; what cannot be read or understood counts as unknown.
// Who may use it: through os.h only.
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bits.h"
#include "os/os.h"
#include "os/system_call.h"

namespace poolalloc {
namespace {

// A file's beginning, as a string; empty when it cannot be read.
struct FileText {
  explicit FileText(const char* path) {
    long file = system_call(SYS_openat, AT_FDCWD, long(address_of(path)), O_RDONLY | O_CLOEXEC);
    long length = -1;
    if (file >= 0) {
      length = system_call(SYS_read, file, long(address_of(text)), sizeof text - 1);
      system_call(SYS_close, file);
    }
    text[length > 0 ? length : 0] = 0;
  }
  char text[4096];
};

// The number at the start of a text, behind blanks; SIZE_MAX when there is none, or too large a one.
size_t number_at(const char* text) {
  while (*text == ' ' || *text == '\t') text++;
  if (*text < '0' || *text > '9') return SIZE_MAX;
  size_t number = 0;
  for (; *text >= '0' && *text <= '9'; text++) {
    if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, size_t(*text - '0'), &number))
      return SIZE_MAX;
  }
  return number;
}

// The least number in FOLDER + PATH + FILE and the same file in the folders above PATH.
size_t cgroup_limit(const char* folder, const char* group, size_t group_length, const char* file) {
  char path[PATH_MAX];
  size_t folder_length = strlen(folder);
  if (folder_length + group_length + strlen(file) >= sizeof path) return SIZE_MAX;
  memcpy(path, folder, folder_length);
  memcpy(path + folder_length, group, group_length);
  size_t length = folder_length + group_length;
  size_t least = SIZE_MAX;
  for (;;) {
    strcpy(path + length, file);
    size_t limit = number_at(FileText(path).text);
    // Version 1 says "no limit" by a number that no memory has.
    if (limit < least && limit < size_t{1} << 62) least = limit;
    if (length <= folder_length) return least;
    while (length > folder_length && path[--length] != '/') {
    }
  }
}

// The line of /proc/self/cgroup that begins behind a number with `kind`; the path behind it.
size_t cgroup_limit_of(const char* groups, const char* kind, const char* folder, const char* file) {
  const char* line = strstr(groups, kind);
  if (line == nullptr) return SIZE_MAX;
  const char* group = line + strlen(kind);
  return cgroup_limit(folder, group, strcspn(group, "\n"), file);
}

}  // namespace

size_t os_peak_resident() {
  // Not getrusage: that figure starts at the peak of the program that called exec.
  constexpr char kField[] = "VmHWM:";
  FileText status("/proc/self/status");
  const char* field = strstr(status.text, kField);
  size_t kibibytes = field != nullptr ? number_at(field + sizeof kField - 1) : 0;
  return kibibytes == SIZE_MAX ? 0 : kibibytes * 1024;
}

size_t os_memory_limit() {
  FileText groups("/proc/self/cgroup");
  size_t limit = cgroup_limit_of(groups.text, "0::", "/sys/fs/cgroup", "/memory.max");
  if (limit == SIZE_MAX)
    limit = cgroup_limit_of(groups.text, ":memory:", "/sys/fs/cgroup/memory", "/memory.limit_in_bytes");
  return limit != SIZE_MAX ? limit : os_address_space_limit();
}

size_t os_address_space_limit() {
  rlimit address_space{RLIM_INFINITY, RLIM_INFINITY};
  system_call(SYS_prlimit64, 0, RLIMIT_AS, 0, long(address_of(&address_space)));
  return address_space.rlim_cur == RLIM_INFINITY ? SIZE_MAX : size_t(address_space.rlim_cur);
}

}  // namespace poolalloc
