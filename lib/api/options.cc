// Options from the environment (options.h).
//
// Always holds: no libc call that may allocate; the environment is only read.
// Who may use it: through options.h.
#include "api/options.h"

#include <string.h>
#include <sys/auxv.h>

#include "base/policy.h"
#include "chunk/accounts.h"
#include "chunk/huge_pages.h"
#include "heap/guard.h"
#include "heap/misuse.h"
#include "heap/purge_thread.h"
#include "heap/sample.h"
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

bool apply_misuse(const char* value) {
  static constexpr const char* kNames[] = {"abort", "warn", "ignore"};
  int index = index_of(value, kNames);
  if (index >= 0) misuse_policy.store_relaxed(MisusePolicy(index));
  return index >= 0;
}

bool apply_huge_pages(const char* value) {
  static constexpr const char* kNames[] = {"off", "default", "always"};
  int index = index_of(value, kNames);
  if (index >= 0) huge_pages.store_relaxed(HugePages(index));
  return index >= 0;
}

// The number of `most` digits or fewer at the start of `value`, and what stands behind it; nullptr: none.
const char* parse_digits(const char* value, unsigned most, uint64_t* number) {
  *number = 0;
  const char* c = value;
  for (; *c >= '0' && *c <= '9'; c++) {
    if (c - value >= most) return nullptr;
    *number = *number * 10 + uint64_t(*c - '0');
  }
  return c != value ? c : nullptr;
}

bool parse_number(const char* value, uint64_t* number) {
  const char* rest = parse_digits(value, 16, number);
  return rest != nullptr && *rest == 0;
}

// "none", or bytes with or without a suffix.
bool parse_size(const char* value, int64_t* size) {
  constexpr char kSuffixes[] = "KMGT";
  *size = kUnlimited;
  if (strcmp(value, "none") == 0) return true;
  uint64_t bytes;
  const char* rest = parse_digits(value, 15, &bytes);
  if (rest == nullptr) return false;
  if (*rest != 0) {
    const char* suffix = strchr(kSuffixes, *rest);
    if (suffix == nullptr || rest[1] != 0) return false;
    unsigned shift = 10 * unsigned(suffix - kSuffixes + 1);
    if (bytes > uint64_t{INT64_MAX} >> shift) return false;
    bytes <<= shift;
  }
  *size = int64_t(bytes);
  return true;
}

// The same, or "N%" of what the system allows this process.
bool parse_limit(const char* value, int64_t* size) {
  if (*value == 0) return (*size = kUnlimited, true);
  uint64_t percent;
  const char* rest = parse_digits(value, 3, &percent);
  if (rest == nullptr || strcmp(rest, "%") != 0) return parse_size(value, size);
  if (percent < 1 || percent > 100) return false;
  size_t whole = os_memory_limit();
  *size = whole == SIZE_MAX ? kUnlimited : int64_t(whole / 100 * percent);
  if (whole != SIZE_MAX) return true;
  Message message;
  message.text("POOLALLOC_LIMIT=")
      .text(value)
      .text(" has no effect: neither a cgroup nor RLIMIT_AS limits memory")
      .send();
  return true;
}

bool apply_guard(const char* value) {
  constexpr unsigned kAlive = 64;
  uint64_t interval, alive = kAlive;
  const char* rest = parse_digits(value, 9, &interval);
  if (rest == nullptr || (*rest == ':' ? !parse_number(rest + 1, &alive) : *rest != 0)) return false;
  if (alive < 1 || alive > kGuardAliveMost || (interval == 0 && *rest == ':')) return false;
  if (interval == 0) return true;
  if (kHardened) {
    Message().text("POOLALLOC_GUARD has no effect in the hardened library").send();
  } else if (guard_start(unsigned(alive))) {
    sample_start(interval);
  } else {
    Message().text("POOLALLOC_GUARD has no effect: there is no memory for it").send();
  }
  return true;
}

bool apply_limit(const char* value) {
  char soft[32];
  const char* colon = strchr(value, ':');
  size_t length = colon != nullptr ? size_t(colon - value) : strlen(value);
  if (length >= sizeof soft || *value == 0 || (colon != nullptr && colon[1] == 0)) return false;
  memcpy(soft, value, length);
  soft[length] = 0;
  int64_t soft_size;
  int64_t hard_size;
  if (!parse_limit(soft, &soft_size) || !parse_limit(colon != nullptr ? colon + 1 : "", &hard_size)) return false;
  retention_policy.soft.store_relaxed(soft_size < hard_size ? soft_size : hard_size);
  retention_policy.hard.store_relaxed(hard_size);
  return true;
}

bool apply_purge(const char* value) {
  static constexpr const char* kNames[] = {"on", "off", "eager"};
  int index = index_of(value, kNames);
  if (index == 1) retention_policy.floor.store_relaxed(kUnlimited);
  if (index == 2) retention_policy.ceiling.store_relaxed(0);
  return index >= 0;
}

bool apply_purge_ceiling(const char* value) {
  int64_t size;
  if (!parse_size(value, &size)) return false;
  // What "eager" has set stays.
  if (size < retention_policy.ceiling.load_relaxed()) retention_policy.ceiling.store_relaxed(size);
  return true;
}

bool apply_purge_floor(const char* value) {
  int64_t size;
  if (!parse_size(value, &size)) return false;
  // And what "off" has.
  if (retention_policy.floor.load_relaxed() != kUnlimited) retention_policy.floor.store_relaxed(size);
  return true;
}

bool apply_purge_thread(const char* value) {
  uint64_t number;
  if (!parse_number(value, &number) || number > 1) return false;
  if (number == 1) purge_thread.store_relaxed(PurgeThread::wanted);
  return true;
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

// What stands behind the prefix in a variable of ours; nullptr: it is none. Without libc, of which each function that a
// small process does not call besides makes 64 KiB more resident.
const char* behind_prefix(const char* variable) {
  for (const char* c = kPrefix; *c != 0; c++, variable++) {
    if (*variable != *c) return nullptr;
  }
  return variable;
}

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

PA_COLD void options_read(char** environment) {
  if (environment == nullptr) return;
  for (char** each = environment; *each != nullptr; each++) {
    const char* variable = behind_prefix(*each);
    if (variable == nullptr) continue;
    if (getauxval(AT_SECURE) != 0) return;
    read_variable(variable);
  }
}

}  // namespace poolalloc
