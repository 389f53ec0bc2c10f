// Options from the environment (options.h).
//
// Always holds: no libc call that may allocate; the environment is only read.
// Who may use it: through options.h.
#include "api/options.h"

#include <string.h>
#include <sys/auxv.h>

#include "api/profile.h"
#include "base/policy.h"
#include "chunk/accounts.h"
#include "chunk/extent.h"
#include "chunk/huge_pages.h"
#include "chunk/region.h"
#include "heap/guard.h"
#include "heap/misuse.h"
#include "heap/purge_thread.h"
#include "heap/sample.h"
#include "os/message.h"
#include "os/os.h"

namespace poolalloc {

constinit Options options{};

namespace {

struct OptionRow {
  const char* name;
  bool is_of_start;  // it takes effect when the process starts, and not later
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

bool apply_disable(const char* value) {
  if (*value == 0) return false;
  options.disabled = strcmp(value, "0") == 0 ? nullptr : value;
  return true;
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

// Passes by a unit, "KB" and "KiB" like "K", in capitals or not; how many bits it shifts a number by.
unsigned parse_unit(const char** rest) {
  constexpr char kUnits[] = "kmgt";
  constexpr char kLowerCase = 0x20;
  const char* c = *rest;
  const char* unit = *c != 0 ? strchr(kUnits, *c | kLowerCase) : nullptr;
  if (unit != nullptr) {
    c++;
    if ((c[0] | kLowerCase) == 'i' && (c[1] | kLowerCase) == 'b') c++;
  }
  if ((*c | kLowerCase) == 'b') c++;
  *rest = c;
  return unit != nullptr ? 10 * unsigned(unit - kUnits + 1) : 0;
}

// "none", or a SIZE as kSizeExplained says.
bool parse_size(const char* value, int64_t* size) {
  *size = kUnlimited;
  if (strcmp(value, "none") == 0) return true;
  uint64_t whole, part = 0, parts = 1;
  const char* rest = parse_digits(value, 15, &whole);
  if (rest != nullptr && *rest == '.') {
    const char* digits = rest + 1;
    rest = parse_digits(digits, 6, &part);
    for (; digits < rest; digits++) parts *= 10;
  }
  if (rest == nullptr) return false;
  const unsigned shift = parse_unit(&rest);
  // Parts of a byte are none.
  if (*rest != 0 || (parts != 1 && shift == 0) || whole >= uint64_t{INT64_MAX} >> shift) return false;
  *size = int64_t((whole << shift) + (part << shift) / parts);
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

// A value that is "FIRST" or "FIRST:REST".
struct Halves {
  char first[32];
  const char* rest;  // nullptr: there is no colon
};

// Whether the first half fits.
bool split(const char* value, Halves* halves) {
  const char* colon = strchr(value, ':');
  const size_t length = colon != nullptr ? size_t(colon - value) : strlen(value);
  if (length >= sizeof halves->first) return false;
  memcpy(halves->first, value, length);
  halves->first[length] = 0;
  halves->rest = colon != nullptr ? colon + 1 : nullptr;
  return true;
}

bool apply_limit(const char* value) {
  Halves said;
  if (*value == 0 || !split(value, &said) || (said.rest != nullptr && *said.rest == 0)) return false;
  int64_t soft_size;
  int64_t hard_size;
  if (!parse_limit(said.first, &soft_size) || !parse_limit(said.rest != nullptr ? said.rest : "", &hard_size))
    return false;
  retention_policy.soft.store_relaxed(soft_size < hard_size ? soft_size : hard_size);
  retention_policy.hard.store_relaxed(hard_size);
  return true;
}

// What the three options about purging say, which are one policy.
struct PurgeOptions {
  enum class Mode { on, off, eager } mode;
  int64_t floor, ceiling;
};
constinit PurgeOptions purge_options{PurgeOptions::Mode::on, kRetentionFloor, kUnlimited};

bool purge_changed() {
  const PurgeOptions& said = purge_options;
  retention_policy.floor.store_relaxed(said.mode == PurgeOptions::Mode::off ? kUnlimited : said.floor);
  retention_policy.ceiling.store_relaxed(said.mode == PurgeOptions::Mode::eager ? 0 : said.ceiling);
  return true;
}

bool apply_profile(const char* value) {
  Halves said;
  if (!split(value, &said)) return false;
  const bool finds_lost = strcmp(said.first, "leaks") == 0;
  int64_t size = 1;
  if (!finds_lost && (!parse_size(said.first, &size) || size == kUnlimited)) return false;
  if (size == 0) {
    if (said.rest == nullptr) profile_option_clear();
    return said.rest == nullptr;
  }
  if (kHardened) {
    Message().text("POOLALLOC_PROFILE has no effect in the hardened library").send();
  } else if (!profile_option_set(uint64_t(size), finds_lost, said.rest)) {
    Message().text("POOLALLOC_PROFILE has no effect: there is no memory for it, or the path is too long").send();
  }
  return true;
}

bool apply_purge(const char* value) {
  static constexpr const char* kNames[] = {"on", "off", "eager"};
  int index = index_of(value, kNames);
  if (index < 0) return false;
  purge_options.mode = PurgeOptions::Mode(index);
  return purge_changed();
}

bool apply_names(const char* value) {
  uint64_t number;
  if (!parse_number(value, &number) || number > 1) return false;
  os_names_wanted.store_relaxed(number == 1);
  if (number == 0) return true;
  regions_name();
  extents_name();
  return true;
}

bool apply_purge_ceiling(const char* value) { return parse_size(value, &purge_options.ceiling) && purge_changed(); }

bool apply_purge_floor(const char* value) { return parse_size(value, &purge_options.floor) && purge_changed(); }

bool apply_purge_thread(const char* value) {
  uint64_t number;
  if (!parse_number(value, &number) || number > 1) return false;
  if (number == 1) purge_thread.store_relaxed(PurgeThread::wanted);
  return true;
}

bool apply_stats(const char* value) {
  // What is needed at the end is copied: programs write titles over their environment.
  static constinit char kept[kFilePathMost]{};
  const bool is_map = strncmp(value, "map:", 4) == 0;
  const bool is_json = strcmp(value, "json") == 0 || strncmp(value, "json:", 5) == 0;
  if (is_map || is_json || *value == '/') {
    const char* path = is_map ? value + 4 : is_json ? value + 4 + (value[4] == ':') : value;
    if (strlen(path) >= kFilePathMost || (*path == 0 && strcmp(value, "json") != 0)) return false;
    strcpy(kept, path);
    options.map_file = is_map ? kept : nullptr;
    options.stats_file = is_json ? kept : nullptr;
    options.stats_folder = is_map || is_json ? nullptr : kept;
    return true;
  }
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

enum class OptionWhen { start, any };

constexpr OptionRow kRows[] = {
#define OPTION(name, when, fallback, values, meaning) \
  {#name, OptionWhen::when == OptionWhen::start, fallback, values, apply_##name},
#include "api/options.def"
#undef OPTION
};

constexpr unsigned kRowCount = sizeof kRows / sizeof kRows[0];

// What the options were set to, cut to so many characters; "": the default is in force. Synchronization: options_read,
// then the caller of option_set.
constexpr size_t kValueMost = 31;
constinit char said_values[kRowCount][kValueMost + 1]{};

// False: not a value of the option; then nothing has changed.
bool row_set(const OptionRow& row, const char* value) {
  if (!row.apply(value)) return false;
  char* said = said_values[&row - kRows];
  for (size_t i = 0; i < kValueMost; i++) {
    said[i] = *value;
    if (*value != 0) value++;
  }
  return true;
}

const OptionRow* row_of(const char* name) {
  for (const OptionRow& row : kRows) {
    if (strcmp(row.name, name) == 0) return &row;
  }
  return nullptr;
}

constexpr char kPrefix[] = "POOLALLOC_";
constexpr char kSizeExplained[] = "a SIZE is a number of bytes, or one with K, M, G or T behind it, as in 1.5G";

// Variables of this project's tools (options.def).
constexpr const char* kToolVariables[] = {
#define TOOL_VARIABLE(name) #name,
#include "api/options.def"
#undef TOOL_VARIABLE
};

// Whether an option takes a SIZE.
constexpr bool mentions_size(const char* values) {
  for (; *values != 0; values++) {
    if (values[0] == 'S' && values[1] == 'I' && values[2] == 'Z' && values[3] == 'E') return true;
  }
  return false;
}

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
    if (*variable != upper_case(*name)) return false;
  }
  *value = variable + 1;
  return *variable == '=';
}

// A name that is none of ours is a mistake, which would change nothing in silence.
void report_unknown(const char* variable) {
  Message message;
  message.text(kPrefix);
  for (; *variable != 0 && *variable != '='; variable++) message.character(*variable);
  message.text(" is not an option; there are");
  for (const OptionRow& row : kRows) message.text(" ").upper(row.name);
  message.send();
}

void read_variable(const char* variable) {
  for (const OptionRow& row : kRows) {
    const char* value;
    if (!names_option(variable, row.name, &value)) continue;
    if (row_set(row, value)) return;
    Message message;
    message.text(kPrefix).text(variable).text(" is not one of ").text(row.values);
    message.text("; using ").text(row.fallback);
    if (mentions_size(row.values)) message.text("; ").text(kSizeExplained);
    message.send();
    return;
  }
  const char* value;
  for (const char* name : kToolVariables) {
    if (names_option(variable, name, &value)) return;
  }
  report_unknown(variable);
}

}  // namespace

OptionSet option_set(const char* name, const char* value) {
  const OptionRow* row = row_of(name);
  if (row == nullptr) return OptionSet::no_such_option;
  if (row->is_of_start) return OptionSet::too_late;
  return row_set(*row, value) ? OptionSet::done : OptionSet::no_such_value;
}

const char* option_value(const char* name) {
  const OptionRow* row = row_of(name);
  if (row == nullptr) return nullptr;
  const char* said = said_values[row - kRows];
  return *said != 0 ? said : row->fallback;
}

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
