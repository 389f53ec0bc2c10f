// Lines for stderr, or for who has asked for messages, put together on the stack.
//
// Always holds: each begins with the library's prefix and ends with one newline; all are written by one call, so that
// those of other processes do not come in between; never allocates; what does not fit is cut off, not overrun.
// Who may use it: the os layer and above.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "os/os.h"

namespace poolalloc {

// Who gets messages instead of stderr. Synchronization: `context` is written before `function`, with release.
struct MessageSink {
  Atomic<void (*)(const char* line, size_t length, void* context)> function;  // nullptr: stderr
  Atomic<void*> context;
};
inline constinit MessageSink message_sink{{nullptr}, {nullptr}};

constexpr char upper_case(char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; }

// Up to kMost bytes.
template <size_t kMost>
class Lines {
 public:
  Lines() { text(kPrefix); }

  Lines& text(const char* s) {
    while (*s != 0) put(*s++);
    return *this;
  }
  Lines& character(char c) { return put(c), *this; }
  // In capitals.
  Lines& upper(const char* s) {
    while (*s != 0) put(upper_case(*s++));
    return *this;
  }
  Lines& number(uint64_t value) { return digits(value, 10, 1); }
  Lines& address(const void* p) {
    text("0x");
    return digits(reinterpret_cast<uintptr_t>(p), 16, 1);
  }
  // Bytes, in the largest unit that leaves at least one digit before the point.
  Lines& bytes(uint64_t value) {
    static constexpr const char* kUnits[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    unsigned unit = 0;
    uint64_t tenths = value * 10;
    for (; tenths >= 10240 && unit < 4; unit++) tenths /= 1024;
    number(tenths / 10);
    if (unit != 0) text(".").number(tenths % 10);
    return text(kUnits[unit]);
  }
  // Begins another line.
  Lines& next() { return put('\n'), text(kPrefix); }
  void send() {
    text_[length_++] = '\n';
    // Acquire: the context.
    auto function = message_sink.function.load_acquire();
    if (function == nullptr) return os_write(text_, length_);
    for (char *line = text_, *c = text_; c < text_ + length_; c++) {
      if (*c != '\n') continue;
      *c = 0;
      function(line, size_t(c - line), message_sink.context.load_relaxed());
      line = c + 1;
    }
  }

 private:
  void put(char c) {
    if (length_ < kMost - 1) text_[length_++] = c;
  }
  Lines& digits(uint64_t value, unsigned base, int least) {
    char reversed[20];
    int count = 0;
    while (value != 0 || count < least) {
      reversed[count++] = "0123456789abcdef"[value % base];
      value /= base;
    }
    while (count > 0) put(reversed[--count]);
    return *this;
  }

  static constexpr char kPrefix[] = "poolalloc: ";
  char text_[kMost];
  size_t length_ = 0;
};

using Message = Lines<400>;

}  // namespace poolalloc
