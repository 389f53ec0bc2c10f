// Walks a fault through all system calls that the library makes, one after the other.
//
//   faults KIND first|others|ERROR [--every]             walks; ERROR is a number
//   faults KIND first|ERROR --at FIRST LENGTH [--half]   one step of a walk
//   faults --list                                        the kinds
//
// A walk takes the first of the kind's errors, and not all calls where they are many: with --every it does. With
// `others` it takes two steps for each of the other errors; with --every it walks with these, too.
//
// Always holds: each step has a process of its own that has done nothing yet: the workload runs with the fault armed,
// everything is freed, the fault goes, and the workload runs again. Then the memory that the process has is as much as
// without a fault, about. Exits 0 after one line on stdout, or 1 after a line on stderr for each step that failed.
#include <malloc.h>
#include <time.h>

#include "unit/accounts.h"
#include "workload.h"

using namespace faults;

namespace {

// What a process has, in KiB: what the library does not know of, of address space; and what is resident.
struct Footprint {
  long unknown, mapped, resident;
};
Footprint* report;  // of the step, in memory that it shares
Footprint normal;   // without a fault

Footprint footprint_now() {
  FILE* file = fopen("/proc/self/statm", "r");
  long size = 0, resident = 0, shared = 0;
  expect(file != nullptr && fscanf(file, "%ld %ld %ld", &size, &resident, &shared) == 3, "no /proc");
  fclose(file);
  // The kernel's own pages, whatever size of them is played.
  long page = sysconf(_SC_PAGESIZE) / long(kKiB), mapped = long(accounts.mapped.load_relaxed() / int64_t(kKiB));
  return {size * page - mapped, mapped, (resident - shared) * page};
}

void expect_signals_as_before() {
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  bool as_before = sigismember(&now, SIGUSR1) == 1 && sigismember(&now, SIGUSR2) == 0;
  expect(as_before, "signals are blocked, or open, that were not before");
}

// In a process of its own.
[[noreturn]] void live(const Fault* fault) {
  setpgid(0, 0);
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, SIGUSR1);
  sigprocmask(SIG_SETMASK, &own, nullptr);
  counts_reset("start");
  if (fault != nullptr) fault_arm(*fault);
  work();
  fault_disarm();
  expect_signals_as_before();
  work_alone();
  phase("the end");
  api_malloc_trim(0);
  room_make();
  test::expect_memory_valid();
  expect(!testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed(), "an equation does not hold");
  expect(accounts.in_use.load_relaxed() <= int64_t(2 * kMiB), "blocks are lost");
  *report = footprint_now();
  _exit(0);
}

// How a step ends; it may not take long.
int wait_for(pid_t child) {
  constexpr timespec kLimit{5, 0};
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (sigtimedwait(&ends, nullptr, &kLimit) >= 0 || errno == EINTR) continue;
    kill(-child, SIGKILL);
    waitpid(child, &status, 0);
  }
  return status;
}

// Whether the step has held all laws.
bool step(const Fault* fault) {
  pid_t child = fork();
  if (child == 0) live(fault);
  int status = wait_for(child);
  const char* wrong = nullptr;
  char buffer[200];
  const Footprint& now = *report;
  // 256 pages, KiB: what is not given back is whole pages, be it for a record.
  const long pages_lost = long(poolalloc::os_page_size() / 4);
  if (WIFSIGNALED(status)) {
    wrong = WTERMSIG(status) == SIGKILL ? "it hangs" : strsignal(WTERMSIG(status));
  } else if (WEXITSTATUS(status) != 0) {
    wrong = "a law is violated";
  } else if (fault != nullptr && (now.unknown > normal.unknown + pages_lost || now.mapped > normal.mapped + 8192 ||
                                  now.resident > normal.resident + pages_lost)) {
    snprintf(buffer, sizeof buffer, "memory is lost: %+ld KiB unknown, %+ld mapped, %+ld resident",
             now.unknown - normal.unknown, now.mapped - normal.mapped, now.resident - normal.resident);
    wrong = buffer;
  }
  if (wrong == nullptr) return true;
  if (fault == nullptr) {
    fprintf(stderr, "faults: without a fault: %s, in phase \"%s\"\n", wrong, counts->phase.load());
    return false;
  }
  fprintf(stderr, "faults %s %d --at %llu %llu%s: %s, in phase \"%s\"\n", fault->kind->name, fault->error,
          (unsigned long long)fault->first, (unsigned long long)fault->length, fault->half ? " --half" : "", wrong,
          counts->phase.load());
  return false;
}

struct Walk {
  uint64_t steps, calls, refused, failures;
};

// With calls that fail now and then, in other places each time.
void stroll(Fault fault, uint64_t steps, Walk& sum) {
  for (fault.first = 1; fault.first <= steps; fault.first++) {
    sum.failures += !step(&fault);
    sum.steps++;
    sum.refused += counts->refused;
  }
}

// All steps of up to `dense`, then ever wider ones, until no call fails any more, or the step after `last`.
void walk(Fault fault, uint64_t dense, uint64_t last, Walk& sum) {
  constexpr uint64_t kFailuresMost = 5;
  uint64_t failures = 0;
  while (fault.first <= last) {
    if (!step(&fault) && ++failures == kFailuresMost) break;
    sum.steps++;
    sum.refused += counts->refused;
    if (counts->seen > sum.calls) sum.calls = counts->seen;
    if (counts->fired == 0) break;
    fault.first += fault.first < dense ? 1 : 1 + fault.first / 2;
  }
  sum.failures += failures;
}

// One error of a kind. Which call fails matters most where memory is asked for.
void walk_error(const Kind& kind, int error, bool is_every, bool is_short, Walk& sum) {
  for (int half = 0; half <= int(kind.has_half) && !is_short; half++)
    stroll({&kind, error, 1, kNowAndThen, half != 0}, is_every ? 200 : kind.may_refuse ? 20 : 5, sum);
  uint64_t dense = is_every ? kForEver : kind.may_refuse ? 40 : 8;
  for (uint64_t so_many : {uint64_t{1}, uint64_t{2}, uint64_t{7}, kForEver}) {
    bool is_main = so_many == 1 || so_many == kForEver;
    if (!is_main && !is_every && (is_short || !kind.may_refuse)) continue;
    for (int half = 0; half <= int(kind.has_half); half++)
      walk({&kind, error, 1, so_many, half != 0}, dense, is_short ? 1 : kForEver, sum);
  }
}

const Kind* kind_of_name(const char* name) {
  for (const Kind& each : kKinds) {
    if (strcmp(each.name, name) == 0) return &each;
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    for (const Kind& each : kKinds) puts(each.name);
    return 0;
  }
  const Kind* kind = argc > 2 ? kind_of_name(argv[1]) : nullptr;
  bool is_every = false, is_half = false;
  uint64_t first = 0, length = 0;
  for (int i = 3; i < argc; i++) {
    is_every |= strcmp(argv[i], "--every") == 0;
    is_half |= strcmp(argv[i], "--half") == 0;
    if (strcmp(argv[i], "--at") != 0 || i + 2 >= argc) continue;
    first = strtoull(argv[i + 1], nullptr, 10);
    length = strtoull(argv[i + 2], nullptr, 10);
  }
  if (kind == nullptr) {
    fprintf(stderr, "usage: faults KIND first|others|ERROR [--every] [--at FIRST LENGTH [--half]]; faults --list\n");
    return 2;
  }
  mallopt(M_ARENA_MAX, 1);
  counts = make_shared<Counts>();
  report = make_shared<Footprint>();
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  if (!step(nullptr)) return 1;
  normal = *report;

  int given = int(strtol(argv[2], nullptr, 10));
  if (first != 0) {
    Fault fault{kind, given != 0 ? given : kind->errors[0], first, length, is_half};
    return step(&fault) ? 0 : 1;
  }
  Walk sum{};
  for (unsigned i = 0; i < 8 && kind->errors[i] != 0; i++) {
    int error = kind->errors[i];
    bool is_others = strcmp(argv[2], "others") == 0;
    bool is_wanted = given != 0 ? error == given : (i == 0) != is_others;
    if (is_wanted) walk_error(*kind, error, is_every && !is_others, is_others && !is_every, sum);
  }
  printf("faults: %s: %llu steps, %llu calls, %llu requests refused, %llu failures\n", kind->name,
         (unsigned long long)sum.steps, (unsigned long long)sum.calls, (unsigned long long)sum.refused,
         (unsigned long long)sum.failures);
  return sum.failures == 0 ? 0 : 1;
}
