// Options from the environment (options.h).
//
// Always holds: no libc call that may allocate; the environment is only read.
// Who may use it: through options.h.
#include "api/options.h"

#include <string.h>
#include <sys/auxv.h>

#include "chunk/huge_pages.h"
#include "heap/foreign.h"
#include "os/message.h"

namespace poolalloc {

constinit Options options{};

namespace {

struct OptionRow {
  const char* name;
  const char* fallback;
  const char* values;
  bool (*apply)(const char* value);  // false: not a value of this option
};

// The index of `value` among the names, -1: none of them.
template <size_t N>
int index_of(const char* value, const char* const (&names)[N]) {
  for (size_t i = 0; i < N; i++) {
    if (strcmp(value, names[i]) == 0) return int(i);
  }
  return -1;
}

bool apply_foreign(const char* value) {
  static constexpr const char* kNames[] = {"ignore", "warn", "abort"};
  int index = index_of(value, kNames);
  if (index >= 0) foreign_policy.store_relaxed(ForeignPolicy(index));
  return index >= 0;
}

bool apply_huge_pages(const char* value) {
  static constexpr const char* kNames[] = {"off", "default", "always"};
  int index = index_of(value, kNames);
  if (index >= 0) huge_pages.store_relaxed(HugePages(index));
  return index >= 0;
}

bool parse_number(const char* value, uint64_t* number) {
  *number = 0;
  for (const char* c = value; *c != 0; c++) {
    if (*c < '0' || *c > '9' || c - value > 15) return false;
    *number = *number * 10 + uint64_t(*c - '0');
  }
  return *value != 0;
}

bool apply_stats(const char* value) {
  uint64_t number;
  if (!parse_number(value, &number)) return false;
  options.stats = number;
  return true;
}

bool apply_verbose(const char* value) {
  uint64_t number;
  if (!parse_number(value, &number) || number > 1) return false;
  options.verbose = number == 1;
  return true;
}

constexpr OptionRow kRows[] = {
#define OPTION(name, fallback, values, meaning) {#name, fallback, values, apply_##name},
#include "api/options.def"
#undef OPTION
};

constexpr char kPrefix[] = "POOLALLOC_";

// Whether `variable` ("NAME=value") is the option of this lower-case name; *value is then its value.
bool names_option(const char* variable, const char* name, const char** value) {
  for (; *name != 0; name++, variable++) {
    char upper = *name >= 'a' && *name <= 'z' ? char(*name - 'a' + 'A') : *name;
    if (*variable != upper) return false;
  }
  *value = variable + 1;
  return *variable == '=';
}

void read_variable(const char* variable) {
  for (const OptionRow& row : kRows) {
    const char* value;
    if (!names_option(variable, row.name, &value)) continue;
    if (row.apply(value)) return;
    Message message;
    message.text(kPrefix).text(variable).text(" is not one of ").text(row.values);
    message.text("; using ").text(row.fallback).send();
    return;
  }
}

}  // namespace

void options_read(char** environment) {
  if (environment == nullptr) return;
  for (char** each = environment; *each != nullptr; each++) {
    if (strncmp(*each, kPrefix, sizeof kPrefix - 1) != 0) continue;
    if (getauxval(AT_SECURE) != 0) return;
    read_variable(*each + sizeof kPrefix - 1);
  }
}

}  // namespace poolalloc
