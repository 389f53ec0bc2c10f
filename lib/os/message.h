// Lines for stderr, or for who has asked for messages, put together on the stack.
//
// Always holds: each begins with the library's prefix and ends with one newline; all are written by one call, so that
// those of other processes do not come in between; never allocates; what does not fit is cut off, not overrun.
// Who may use it: the os layer and above.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

namespace poolalloc {

// Who gets messages, line by line, instead of stderr; nullptr: stderr. Synchronization: written with release.
inline constinit Atomic<void (*)(const char* line, size_t length)> message_sink{nullptr};

constexpr char upper_case(char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; }

// In memory of who makes it.
class Lines {
 public:
  Lines& text(const char* s);
  Lines& character(char c);
  // In capitals.
  Lines& upper(const char* s);
  Lines& number(uint64_t value);
  Lines& address(const void* p);
  // Bytes, in the largest unit that leaves at least one digit before the point.
  Lines& bytes(uint64_t value);
  // Begins another line.
  Lines& next();
  void send();

 protected:
  Lines(char* memory, size_t most);

 private:
  Lines& digits(uint64_t value, unsigned base);

  char* text_;
  size_t most_;
  size_t length_ = 0;
};

template <size_t kMost>
class LinesOf : public Lines {
 public:
  LinesOf() : Lines(memory_, kMost) {}
  LinesOf(const LinesOf&) = delete;
  LinesOf& operator=(const LinesOf&) = delete;

 private:
  char memory_[kMost];
};

// One line.
using Message = LinesOf<400>;

}  // namespace poolalloc
