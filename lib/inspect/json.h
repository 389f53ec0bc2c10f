// JSON (RFC 8259), put together piece by piece without allocating.
//
// Always holds: commas stand where they belong; what is not ASCII goes as it is.
// Not thread-safe. Who may use it: inspect.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "inspect/statistics.h"

namespace poolalloc {

class Json {
 public:
  Json(StatisticsWrite write, void* context) : write_(write), context_(context) {}
  ~Json() { flush(); }
  Json(const Json&) = delete;
  Json& operator=(const Json&) = delete;

  // Of an object ('{') or an array ('['); `key` is nullptr inside arrays, and outside all.
  void open(const char* key, char bracket) {
    begin(key);
    put(bracket);
    is_first_ = true;
  }
  void close(char bracket) {
    put(bracket);
    is_first_ = false;
  }
  void number(const char* key, uint64_t value) {
    begin(key);
    char digits[20];
    unsigned count = 0;
    do {
      digits[count++] = char('0' + value % 10);
      value /= 10;
    } while (value != 0);
    while (count > 0) put(digits[--count]);
  }
  void text(const char* key, const char* value) {
    begin(key);
    quoted(value);
  }
  void end_line() { put('\n'); }

 private:
  void begin(const char* key) {
    if (!is_first_) put(',');
    is_first_ = false;
    if (key == nullptr) return;
    quoted(key);
    put(':');
  }
  void quoted(const char* value) {
    put('"');
    for (; *value != 0; value++) {
      const unsigned char c = static_cast<unsigned char>(*value);
      if (c == '"' || c == '\\') put('\\');
      put(c < ' ' ? '?' : char(c));
    }
    put('"');
  }
  void put(char c) {
    if (length_ == sizeof text_) flush();
    text_[length_++] = c;
  }
  void flush() {
    if (length_ != 0) write_(text_, length_, context_);
    length_ = 0;
  }

  StatisticsWrite write_;
  void* context_;
  char text_[1024];
  size_t length_ = 0;
  bool is_first_ = true;
};

}  // namespace poolalloc
