// libFuzzer's side: how traces change, and how one is taken.
//
// Each trace runs in a child, so that the library is the same before each one, and a crash can be repeated; what the
// child has covered comes back through memory that both have. FUZZ_HERE=1 lets them run in this process instead, which
// then grows old as programs do; the last ones are kept in FUZZ_FOLDER/last, so that they can be repeated together.
//
// Always holds: a trace that violates a law ends the process by abort(), so that libFuzzer keeps it.
// Who may use it: libFuzzer.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "interpreter.h"
#include "trace.h"

// libFuzzer's, and where the compiler has put its counters.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);
extern "C" uint8_t __start___sancov_cntrs[] __attribute__((weak));
extern "C" uint8_t __stop___sancov_cntrs[] __attribute__((weak));

namespace {

using fuzz::mixed;
using fuzz::Step;

bool is_here;
uint8_t* covered;  // the child's counters

size_t counters_size() { return size_t(__stop___sancov_cntrs - __start___sancov_cntrs); }
void counters_send() { memcpy(covered, __start___sancov_cntrs, counters_size()); }

void* map_shared(size_t size, int file) {
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | (file < 0 ? MAP_ANONYMOUS : 0), file, 0);
  if (p == MAP_FAILED) abort();
  return p;
}

// --- The last traces ---------------------------------------------------------------------------------------------

// As they lie in the file: a ring.
struct Last {
  static constexpr unsigned kMost = 64;
  static constexpr size_t kSizeMost = 16384;
  uint64_t count;
  struct Trace {
    uint64_t size;
    uint8_t bytes[kSizeMost];
  } traces[kMost];
};
Last* last;

void last_note(const uint8_t* data, size_t size) {
  Last::Trace& trace = last->traces[last->count % Last::kMost];
  trace.size = size < Last::kSizeMost ? size : Last::kSizeMost;
  memcpy(trace.bytes, data, trace.size);
  last->count++;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* folder = getenv("FUZZ_FOLDER");
  if (folder == nullptr) folder = "/tmp";
  is_here = getenv("FUZZ_HERE") != nullptr;
  covered = static_cast<uint8_t*>(map_shared(counters_size() + 1, -1));
  char path[300];
  snprintf(path, sizeof path, "%s/last", folder);
  const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0 || ftruncate(file, sizeof(Last)) != 0) {
    fprintf(stderr, "fuzz: %s cannot be written\n", path);
    abort();
  }
  last = static_cast<Last*>(map_shared(sizeof(Last), file));
  last->count = 0;
  close(file);
  fuzz::process_begin(folder);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  last_note(data, size);
  if (is_here) {
    fuzz::trace_run(data, size);
    return 0;
  }
  if (!fuzz::trace_run_in_child(data, size, counters_send)) abort();
  memcpy(__start___sancov_cntrs, covered, counters_size());
  return 0;
}

// --- Changes -----------------------------------------------------------------------------------------------------

namespace {

struct Steps {
  Step* of;
  size_t count, most;

  void open(size_t at, size_t more) {
    memmove(of + at + more, of + at, (count - at) * sizeof(Step));
    count += more;
  }
  void close(size_t at, size_t less) {
    memmove(of + at, of + at + less, (count - at - less) * sizeof(Step));
    count -= less;
  }
};

Step random_step(uint64_t& random) {
  const uint64_t bits = random = mixed(random);
  Step step;
  memcpy(&step, &bits, sizeof step);
  return step;
}

void change_once(Steps& steps, uint64_t& random) {
  random = mixed(random);
  const uint64_t what = random % 16;
  if (steps.count == 0 || (what < 4 && steps.count < steps.most)) {
    const size_t at = steps.count != 0 ? random / 16 % (steps.count + 1) : 0;
    Step step = random_step(random);
    // Often in the lane and on the slots of the step before.
    if (at != 0 && random % 2 == 0) step.place = steps.of[at - 1].place;
    steps.open(at, 1);
    steps.of[at] = step;
    return;
  }
  const size_t at = random / 16 % steps.count;
  Step& step = steps.of[at];
  const uint64_t bits = random >> 24;
  switch (what) {
    case 4:
    case 5:
      return steps.close(at, 1);
    case 6: {
      const size_t less = 1 + bits % (steps.count - at);
      return steps.close(at, less < 32 ? less : 32);
    }
    case 7: {
      // Again what was there.
      size_t more = 1 + bits % (steps.count - at);
      if (more > 64) more = 64;
      if (more > steps.most - steps.count) return;
      steps.open(at, more);
      memcpy(steps.of + at, steps.of + at + more, more * sizeof(Step));
      return;
    }
    case 8: {
      const Step other = steps.of[bits % steps.count];
      steps.of[bits % steps.count] = step;
      step = other;
      return;
    }
    case 9:
      step.operation = uint8_t(bits);
      return;
    case 10:
      step.place = uint8_t(bits);
      return;
    case 11:
      step.how = uint8_t(bits);
      return;
    case 12:
      step.other = uint8_t(bits);
      return;
    case 13:
      step.amount = uint32_t(bits);
      return;
    case 14:
      step.amount += uint32_t(bits % 64) - 32;
      return;
    default: {
      auto* bytes = reinterpret_cast<uint8_t*>(&step);
      LLVMFuzzerMutate(bytes, sizeof step, sizeof step);
      return;
    }
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Steps steps{reinterpret_cast<Step*>(data), size / sizeof(Step), most / sizeof(Step)};
  if (steps.most == 0) return 0;
  uint64_t random = mixed(seed);
  for (uint64_t changes = 1 + random % 4; changes > 0; changes--) change_once(steps, random);
  return steps.count * sizeof(Step);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* one, size_t one_size, const uint8_t* two, size_t two_size,
                                            uint8_t* out, size_t out_most, unsigned seed) {
  // The beginning of one, and the end of the other.
  uint64_t random = mixed(seed);
  const size_t from_one = random % (one_size / sizeof(Step) + 1) * sizeof(Step);
  random = mixed(random);
  const size_t behind = random % (two_size / sizeof(Step) + 1) * sizeof(Step);
  size_t from_two = two_size / sizeof(Step) * sizeof(Step) - behind;
  const size_t first = from_one < out_most ? from_one : out_most / sizeof(Step) * sizeof(Step);
  if (from_two > out_most - first) from_two = (out_most - first) / sizeof(Step) * sizeof(Step);
  memcpy(out, one, first);
  memcpy(out + first, two + behind, from_two);
  return first + from_two;
}
