// Messages (message.h).
//
// Who may use it: through message.h.
#include "os/message.h"

#include "os/os.h"

namespace poolalloc {

static constexpr char kPrefix[] = "poolalloc: ";

Lines::Lines(char* memory, size_t most) : text_(memory), most_(most) { text(kPrefix); }

Lines& Lines::character(char c) {
  // There is room for the newline.
  if (length_ < most_ - 1) text_[length_++] = c;
  return *this;
}

Lines& Lines::text(const char* s) {
  while (*s != 0) character(*s++);
  return *this;
}

Lines& Lines::upper(const char* s) {
  while (*s != 0) character(upper_case(*s++));
  return *this;
}

Lines& Lines::digits(uint64_t value, unsigned base) {
  char reversed[20];
  int count = 0;
  do {
    reversed[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (count > 0) character(reversed[--count]);
  return *this;
}

Lines& Lines::number(uint64_t value) { return digits(value, 10); }

Lines& Lines::address(const void* p) { return text("0x").digits(reinterpret_cast<uintptr_t>(p), 16); }

Lines& Lines::bytes(uint64_t value) {
  static constexpr const char* kUnits[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  unsigned unit = 0;
  uint64_t tenths = value * 10;
  for (; tenths >= 10240 && unit < 4; unit++) tenths /= 1024;
  number(tenths / 10);
  if (unit != 0) text(".").number(tenths % 10);
  return text(kUnits[unit]);
}

Lines& Lines::next() { return character('\n').text(kPrefix); }

void Lines::send() {
  text_[length_++] = '\n';
  // Acquire: what it needs.
  auto sink = message_sink.load_acquire();
  if (sink == nullptr) return os_write(text_, length_);
  for (char *line = text_, *c = text_; c < text_ + length_; c++) {
    if (*c != '\n') continue;
    *c = 0;
    sink(line, size_t(c - line));
    line = c + 1;
  }
}

}  // namespace poolalloc
