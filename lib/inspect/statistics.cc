// The figures of statistics.def as JSON (statistics.h).
//
// Who may use it: through statistics.h.
#include "inspect/statistics.h"

#include <string.h>

#include "chunk/accounts.h"
#include "heap/misuse.h"
#include "heap/program_heap.h"
#include "inspect/census.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// Puts JSON together, and commas where they belong.
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
  // What is not ASCII goes as it is.
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

void write_totals(Json& json, const Census& census) {
  const char* section = "";
  auto number = [&](const char* of, const char* key, uint64_t value) {
    if (strcmp(section, of) != 0) {
      if (*section != 0) json.close('}');
      json.open(section = of, '{');
    }
    json.number(key, value);
  };
#define STATISTIC(section, key, value, meaning) number(#section, #key, uint64_t(value));
#include "inspect/statistics.def"
#undef STATISTIC
  json.close('}');
}

void write_classes(Json& json, const Census& census) {
  json.open("classes", '[');
  for (unsigned c = 0; c < kClassCount; c++) {
    const ClassCensus& each = census.classes[c];
    if (each.pools == 0) continue;
    json.open(nullptr, '{');
#define CLASS_STATISTIC(key, value, meaning) json.number(#key, uint64_t(value));
#include "inspect/statistics.def"
#undef CLASS_STATISTIC
    json.close('}');
  }
  json.close(']');
}

const char* kind_of(const HeapGate& gate) {
  switch (gate.state.load_relaxed()) {
    case HeapState::owned:
      return "thread";
    case HeapState::orphan:
    case HeapState::vanished:
      return "orphan";
    case HeapState::shared:
      return "shared";
    case HeapState::program:
      return gate.heap->program->is_own ? "profile" : "program";
    default:
      return "lost";
  }
}

PA_RACY void write_heap(Json& json, const HeapGate& gate, const HeapCensus& each) {
  const Heap& heap = *gate.heap;
  json.open(nullptr, '{');
  json.text("kind", kind_of(gate));
  if (heap.program != nullptr) json.text("name", heap.program->name);
#define HEAP_STATISTIC(key, value, meaning) json.number(#key, uint64_t(value));
#include "inspect/statistics.def"
#undef HEAP_STATISTIC
  json.close('}');
}

// Some at a time, a walk over all pools for each lot.
void write_heaps(Json& json) {
  constexpr unsigned kLot = 64;
  json.open("heaps", '[');
  for (const HeapGate* gate = heap_list(); gate != nullptr;) {
    HeapCensus lot[kLot] = {};
    const HeapGate* first = gate;
    unsigned count = 0;
    for (; gate != nullptr && count < kLot; gate = gate->next) lot[count++].heap = gate->heap;
    census_of_heaps(lot, count);
    for (unsigned i = 0; i < count; i++, first = first->next) write_heap(json, *first, lot[i]);
  }
  json.close(']');
}

}  // namespace

PA_COLD void statistics_write(const char* library, StatisticsWrite write, void* context) {
  Census census;
  census_take(census);
  Json json(write, context);
  json.open(nullptr, '{');
  json.number("version", 1);
  json.text("library", library);
  json.number("process", uint64_t(os_process_id()));
  json.text("program", os_program_name());
  write_totals(json, census);
  write_classes(json, census);
  write_heaps(json);
  json.close('}');
  json.end_line();
}

}  // namespace poolalloc
