// Memory, pages and threads of the whole process (scan.h) on Linux.
//
// Who may use it: through scan.h only.
#include "os/scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bits.h"
#include "os/os.h"
#include "os/system_call.h"

namespace poolalloc {
namespace {

// As the kernel writes entries of a folder.
struct FolderEntry {
  uint64_t inode, offset;
  uint16_t length;
  uint8_t kind;
  char name[];
};

// The last but one number of /proc/self/task/TID/syscall, "NUMBER ARGUMENTS... STACK-POINTER PROGRAM-COUNTER"; 0: the
// thread runs, or the file cannot be read.
uintptr_t stack_pointer_of(const char* thread) {
  char path[64] = "/proc/self/task/";
  if (strlen(thread) > 20) return 0;
  strcat(strcat(path, thread), "/syscall");
  const long file = system_call(SYS_openat, AT_FDCWD, as_long(path), O_RDONLY | O_CLOEXEC);
  if (failed(file)) return 0;
  char text[256];
  const long length = system_call(SYS_read, file, as_long(text), sizeof text - 1);
  system_call(SYS_close, file);
  uintptr_t before = 0, last = 0;
  for (long i = 0; i < length; i++) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (c == ' ') {
      before = last;
      last = 0;
    } else if (digit >= 0) {
      last = last * 16 + uintptr_t(digit);
    }
  }
  return before;
}

}  // namespace

bool os_memory_copy(void* to, uintptr_t from, size_t size) {
  iovec here{to, size}, there{pointer_to<void>(from), size};
  return system_call(SYS_process_vm_readv, os_process_id(), as_long(&here), 1, as_long(&there), 1) == long(size);
}

PagesPresent::PagesPresent()
    : file_(system_call(SYS_openat, AT_FDCWD, as_long("/proc/self/pagemap"), O_RDONLY | O_CLOEXEC)) {}
PagesPresent::~PagesPresent() {
  if (!failed(file_)) system_call(SYS_close, file_);
}

uint64_t PagesPresent::from(uintptr_t address, unsigned count) const {
  // The kernel's list knows its own pages.
  if (kHasTestedPages && os_page_size() != getauxval(AT_PAGESZ)) return ~uint64_t{0};
  constexpr uint64_t kPresent = uint64_t{1} << 63, kSwapped = uint64_t{1} << 62;
  uint64_t words[64];
  const long size = long(count * sizeof *words), at = long(address / os_page_size() * sizeof *words);
  if (failed(file_) || system_call(SYS_pread64, file_, as_long(words), size, at) != size) return ~uint64_t{0};
  uint64_t present = 0;
  for (unsigned i = 0; i < count; i++) present |= uint64_t{(words[i] & (kPresent | kSwapped)) != 0} << i;
  return present;
}

void os_other_threads_visit(void (*visit)(void* context, uintptr_t stack_pointer), void* context) {
  const long folder = system_call(SYS_openat, AT_FDCWD, as_long("/proc/self/task"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (failed(folder)) return visit(context, 0);
  alignas(FolderEntry) char entries[1024];
  for (long size; (size = system_call(SYS_getdents64, folder, as_long(entries), sizeof entries)) > 0;) {
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const FolderEntry*>(entries + at);
      at += entry->length;
      unsigned number = 0;
      for (const char* c = entry->name; *c >= '0' && *c <= '9'; c++) number = number * 10 + unsigned(*c - '0');
      if (number != 0 && number != os_thread_number()) visit(context, stack_pointer_of(entry->name));
    }
  }
  system_call(SYS_close, folder);
}

#if defined(__x86_64__)
bool os_is_ended_stack(uintptr_t start, uintptr_t end) {
  // glibc's struct pthread: words that hold its own address, and the thread's number, 0 when it has ended.
  constexpr unsigned kSelf = 2, kNumber = 0x2d0 / sizeof(uintptr_t), kStep = 64;
  if (end - start < kThreadRecordMost || !os_is_first_process()) return false;
  uintptr_t words[kThreadRecordMost / sizeof(uintptr_t)];
  const uintptr_t from = end - sizeof words;
  if (!os_memory_copy(words, from, sizeof words)) return false;
  constexpr size_t kCount = sizeof words / sizeof *words;
  for (size_t i = kCount - kNumber - 1; i < kCount; i--) {
    const uintptr_t address = from + i * sizeof *words;
    if (address % kStep == 0 && words[i] == address && words[i + kSelf] == address)
      return uint32_t(words[i + kNumber]) == 0;
  }
  return false;
}
#else
bool os_is_ended_stack(uintptr_t, uintptr_t) { return false; }
#endif

}  // namespace poolalloc
