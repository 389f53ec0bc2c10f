// One line for stderr, or for who has asked for messages, put together on the stack.
//
// Always holds: begins with the library's prefix, ends with one newline, is written by one call,
// never allocates; what does not fit is cut off, not overrun.
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

class Message {
 public:
  Message() { text("poolalloc: "); }

  Message& text(const char* s) {
    while (*s != 0) put(*s++);
    return *this;
  }
  Message& character(char c) { return put(c), *this; }
  // In capitals.
  Message& upper(const char* s) {
    while (*s != 0) put(upper_case(*s++));
    return *this;
  }
  Message& number(uint64_t value) { return digits(value, 10, 1); }
  Message& address(const void* p) {
    text("0x");
    return digits(reinterpret_cast<uintptr_t>(p), 16, 1);
  }
  // Bytes, in the largest unit that leaves at least one digit before the point.
  Message& bytes(uint64_t value) {
    static constexpr const char* kUnits[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    unsigned unit = 0;
    uint64_t tenths = value * 10;
    for (; tenths >= 10240 && unit < 4; unit++) tenths /= 1024;
    number(tenths / 10);
    if (unit != 0) text(".").number(tenths % 10);
    return text(kUnits[unit]);
  }
  void send() {
    // Acquire: the context.
    if (auto function = message_sink.function.load_acquire(); function != nullptr) {
      line_[length_] = 0;
      return function(line_, length_, message_sink.context.load_relaxed());
    }
    line_[length_++] = '\n';
    os_write(line_, length_);
  }

 private:
  void put(char c) {
    if (length_ < sizeof line_ - 1) line_[length_++] = c;
  }
  Message& digits(uint64_t value, unsigned base, int least) {
    char reversed[20];
    int count = 0;
    while (value != 0 || count < least) {
      reversed[count++] = "0123456789abcdef"[value % base];
      value /= base;
    }
    while (count > 0) put(reversed[--count]);
    return *this;
  }

  char line_[400];
  size_t length_ = 0;
};

}  // namespace poolalloc
