// The path of a file, put together without libc's help.
//
// Always holds: it ends with a 0; what does not fit is cut off, and is_whole says so.
// Who may use it: api.
#pragma once

#include "base/atomic.h"
#include "os/os.h"

namespace poolalloc {

struct Path {
  char text[kFilePathMost];
  size_t length = 0;
  bool is_whole = true;

  Path() { text[0] = 0; }
  void put(char c) {
    is_whole &= length + 1 < sizeof text;
    if (length + 1 < sizeof text) text[length++] = c;
    text[length] = 0;
  }
  void put(const char* s) {
    while (*s != 0) put(*s++);
  }
  // The number of this process stands for %p, and % for %%.
  void put_pattern(const char* pattern) {
    for (const char* c = pattern; *c != 0; c++) {
      if (c[0] != '%' || (c[1] != 'p' && c[1] != '%')) {
        put(*c);
      } else if (*++c == 'p') {
        put(uint64_t(os_process_id()));
      } else {
        put('%');
      }
    }
  }
  // One beside `path`, for this call alone.
  void put_part(const char* path) {
    static constinit Atomic<uint64_t> count{0};
    put(path);
    put(".");
    put(uint64_t(os_process_id()));
    put(".");
    put(count.add_relaxed(1));
    put(".part");
  }
  void put(uint64_t number) {
    char digits[21];
    char* at = digits + sizeof digits;
    *--at = 0;
    do {
      *--at = char('0' + number % 10);
      number /= 10;
    } while (number != 0);
    put(at);
  }
};

}  // namespace poolalloc
