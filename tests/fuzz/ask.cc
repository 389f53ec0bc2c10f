// Questions, options, limits, the profile, and what the library says by itself.
//
// Always holds: options are after a trace as they were before; a line that the library says unasked is a violation.
// Who may use it: the table of operations (interpreter.cc), and whoever starts a trace.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "world.h"

namespace fuzz {
namespace {

// --- What the library says
// ----------------------------------------------------------------------------------------------

std::atomic<int> expected_depth{0};
std::atomic<unsigned> lines{0}, unexpected{0};

void on_message(const char* line, size_t length, void*) {
  expect(strlen(line) == length && strncmp(line, "poolalloc: ", 11) == 0, "a message has no prefix");
  lines++;
  if (expected_depth != 0) return;
  // A profile cannot be written without memory, for one.
  if (!world.may_refuse) unexpected++;
  if (write(STDERR_FILENO, line, length) < 0 || write(STDERR_FILENO, "\n", 1) < 0) return;
}

// A block that the handler gives away when there is no memory.
std::atomic<void*> reserve{nullptr};
int on_no_memory(size_t size, void*) {
  expect(size <= size_t{PTRDIFF_MAX}, "the handler is asked for what cannot be", nullptr, size);
  void* given = reserve.exchange(nullptr);
  if (given == nullptr) return 0;
  entry::free(given);
  return 1;
}

FILE* nowhere;
char nowhere_buffer[4096];

// --- Options
// ------------------------------------------------------------------------------------------------------------

constexpr const char* kNames[] = {"foreign",      "guard",   "huge_pages", "limit",         "misuse",
                                  "names",        "profile", "purge",      "purge_ceiling", "purge_floor",
                                  "purge_thread", "stats",   "verbose"};
constexpr unsigned kNameCount = sizeof kNames / sizeof *kNames;
char values_at_start[kNameCount][64];

struct Setting {
  const char *name, *value;
  int error;
};
constexpr Setting kSettings[] = {
    {"purge", "eager", 0},
    {"purge", "off", 0},
    {"purge", "on", 0},
    {"purge", "no", EINVAL},
    {"purge_floor", "0", 0},
    {"purge_floor", "64K", 0},
    {"purge_floor", "1.5M", 0},
    {"purge_floor", "-1", EINVAL},
    {"purge_ceiling", "1M", 0},
    {"purge_ceiling", "none", 0},
    {"purge_ceiling", "0", 0},
    {"purge_ceiling", "x", EINVAL},
    {"limit", "8M", 0},
    {"limit", "none", 0},
    {"limit", "64M", 0},
    {"limit", ":", EINVAL},
    {"foreign", "ignore", 0},
    {"foreign", "warn", 0},
    {"foreign", "abort", 0},
    {"foreign", "", EINVAL},
    {"profile", "0", 0},
    {"guard", "10", EPERM},
    {"stats", "1", EPERM},
    {"verbose", "1", EPERM},
    {"huge_pages", "off", EPERM},
    {"names", "1", EPERM},
    {"purge_thread", "1", EPERM},
    {"profile", "1Q", EINVAL},
    {"", "1", ENOENT},
    {"purge_flor", "1", ENOENT},
    {"misuse", "abort", 0},
    {"misuse", "maybe", EINVAL},
    {"limit", "1M:900M", 0},
    {"limit", "0", 0},
};

void option_expect(const char* name, const char* value) {
  char said[64], cut[4] = {'x', 'x', 'x', 'x'};
  const int length = api::option_get(name, said, sizeof said);
  expect(length == int(strlen(value)) && strcmp(said, value) == 0, "an option is not what it was set to");
  expect(api::option_get(name, cut, 3) == length && cut[3] == 'x' && strncmp(cut, value, 2) == 0,
         "an option is cut wrongly");
}

// --- Limits
// ------------------------------------------------------------------------------------------------------------

uint64_t in_use() {
  const struct mallinfo2 info = entry::mallinfo2();
  poolalloc_stats stats{};
  api::stats_get(&stats, sizeof stats);
  return stats.live_bytes + stats.free_bytes + info.hblks;
}

// What the kernel gives at the most; RLIM_INFINITY: what it gave at the start.
void address_space_limit(rlim_t more) {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0) return;
  static const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = before;
  if (more != RLIM_INFINITY) {
    char pages[32] = "";
    const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, pages, sizeof pages - 1) <= 0) violated("statm cannot be read");
    close(file);
    limit.rlim_cur = rlim_t(strtoul(pages, nullptr, 10)) * 4096 + more;
  }
  expect(setrlimit(RLIMIT_AS, &limit) == 0, "no right to change the limit of address space");
}

void limits_end() {
  if (!world.may_refuse) return;
  expect(api::option_set("limit", "none") == 0, "the limit cannot be taken away");
  address_space_limit(RLIM_INFINITY);
  entry::free(reserve.exchange(nullptr));
  world.may_refuse = false;
}

}  // namespace

void messages_expect(bool is_expected) { expected_depth += is_expected ? 1 : -1; }
const void* reserve_block() { return reserve; }
unsigned messages_count() { return lines; }
void messages_check() { expect(unexpected.exchange(0) == 0, "the library has said what is not so"); }

void handlers_install() {
  api::on_message(on_message, nullptr);
  api::on_no_memory(on_no_memory, nullptr);
  nowhere = fopen("/dev/null", "we");
  setvbuf(nowhere, nowhere_buffer, _IOFBF, sizeof nowhere_buffer);
  expect(strcmp(api::version(), "0.1.0") > 0 || api::version()[0] != 0, "no version");
}

void options_note() {
  for (unsigned i = 0; i < kNameCount; i++) api::option_get(kNames[i], values_at_start[i], sizeof values_at_start[i]);
}

void options_restore() {
  limits_end();
  for (unsigned i = 0; i < kNameCount; i++) {
    const bool is_file = strchr(values_at_start[i], '/') != nullptr;
    errno = kErrno;
    const bool is_set = is_file || api::option_set(kNames[i], values_at_start[i]) == 0;
    expect(is_set || errno == EPERM, "an option cannot be set back");
    option_expect(kNames[i], values_at_start[i]);
  }
}

void do_option(Lane&, const Step& step) {
  const Setting& setting = kSettings[step.other % (sizeof kSettings / sizeof *kSettings)];
  if (world.may_refuse && strcmp(setting.name, "limit") == 0) return;
  char before[64] = "";
  const int length = api::option_get(setting.name, before, sizeof before);
  // A profile in a file goes on.
  if (strcmp(setting.name, "profile") == 0 && strcmp(before, "0") != 0 && setting.error == 0) return;
  errno = kErrno;
  const int result = api::option_set(setting.name, setting.value);
  expect(result == (setting.error != 0 ? -1 : 0), "an option is set, or not");
  if (setting.error == 0) return option_expect(setting.name, setting.value);
  expect(errno == setting.error, "an option is refused with a wrong errno");
  if (length >= 0) option_expect(setting.name, before);
}

void do_limit(Lane&, const Step& step) {
  if (world.may_refuse) return limits_end();
  world.may_refuse = true;
  if (step.how % 4 == 1 && heap_of_lane(leader()) == 0) reserve = entry::malloc(300000);
  const size_t more = step.amount % 64 * 65536;
  if (step.how % 2 == 0) return address_space_limit(more * 4);
  char value[64];
  snprintf(value, sizeof value, ":%zu", size_t(in_use()) + more);
  expect(api::option_set("limit", value) == 0, "the limit cannot be set");
}

void do_profile(Lane&, const Step& step) {
  const size_t means[] = {1, 100, 4096, 65536, size_t{512} << 10};
  errno = kErrno;
  const unsigned how = step.how % 4;
  if (how < 2) {
    const int result = api::profile_start(step.other % 16 == 0 ? 0 : means[step.other % 5]);
    if (result == 0) return void(world.is_profiled = true);
    const int wanted = settings.is_hardened ? ENOTSUP : step.other % 16 == 0 ? EINVAL : ENOMEM;
    return expect(result == -1 && errno == wanted && (wanted != ENOMEM || world.may_refuse), "a profile cannot begin");
  }
  if (how == 2) return api::profile_stop();
  const int result = api::profile_write(scratch_path("profile"));
  if (result == 0) {
    expect(world.is_profiled, "a profile was written that was never begun");
    unlink(scratch_path("profile"));
  } else {
    expect(result == -1 && (errno == EINVAL ? !world.is_profiled : errno == ENOMEM || errno == EIO),
           "a profile cannot be written");
    expect(errno == EINVAL || world.may_refuse, "a profile cannot be written");
  }
}

void do_ask(Lane& lane, const Step& step) {
  errno = kErrno;
  const size_t size = plain_size(step.amount);
  switch (step.how % 10) {
    case 0: {
      const int result = entry::malloc_trim(step.other);
      return expect(result == 0 || result == 1, "malloc_trim says what it must not");
    }
    case 1:
      api::trim();
      return;
    case 2: {
      const size_t good = api::good_size(size);
      expect(good >= size && api::good_size(good) == good, "a good size is not good", nullptr, size);
      void* p = entry::malloc(size);
      if (p == nullptr) return refused(heap_of_lane(lane), size, 16, errno);
      const size_t usable = entry::malloc_usable_size(p);
      expect(usable == good || settings.has_guard, "a good size is not what a block has", p, size);
      entry::free(p);
      return;
    }
    case 3: {
      const struct mallinfo info = entry::mallinfo();
      return expect(info.arena >= 0 && info.uordblks >= 0 && info.hblkhd >= 0, "mallinfo has a figure below zero");
    }
    case 4:
      if (world.is_lost) return;
      expect(entry::malloc_info(0, nowhere) == 0, "malloc_info fails");
      return expect(entry::malloc_info(1, nowhere) == EINVAL, "malloc_info takes options that there are not");
    case 5: {
      messages_expect(true);
      const unsigned before = messages_count();
      entry::malloc_stats();
      expect(messages_count() > before, "malloc_stats says nothing");
      return messages_expect(false);
    }
    case 6:
      expect(entry::mallopt(M_MMAP_THRESHOLD, int(step.amount)) == 1, "mallopt does not take what glibc has");
      return expect(entry::mallopt(4711, 1) == 0, "mallopt takes what there is not");
    case 7: {
      poolalloc_stats stats;
      memset(&stats, 0x5a, sizeof stats);
      api::stats_get(&stats, 16);
      return expect(reinterpret_cast<char*>(&stats)[16] == 0x5a, "poolalloc_stats_get has written too much");
    }
    case 8: {
      unsigned left = 1 + step.other;
      const int is_whole = api::visit(
          [](const poolalloc_area*, void*, int, void* context) {
            entry::free(entry::malloc(64));
            return int(--*static_cast<unsigned*>(context) != 0);
          },
          &left);
      return expect(is_whole == (left != 0), "a visit says that it has ended when it has not");
    }
    default: {
      struct Sum {
        size_t length;
      } sum{0};
      api::stats_json([](const char*, size_t length, void* to) { static_cast<Sum*>(to)->length += length; }, &sum);
      return expect(sum.length > 100, "the figures are empty");
    }
  }
}

void do_sleep(Lane&, const Step& step) { usleep(50u << step.how % 6); }

}  // namespace fuzz
