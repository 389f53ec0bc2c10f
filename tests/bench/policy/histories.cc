// Replays five made-up histories under the retention policy alone: what stays resident while what is live changes.
//
// Always holds: time is the model's own, so that every run prints the same: "sample HISTORY MS LIVE_KIB RESIDENT_KIB",
// and for each history at its end "figure HISTORY PURGED_MIB AGAIN_MIB".
#include <stdio.h>

#include "retention_model.h"

namespace {

using poolalloc::kSliceSize;
using poolalloc::test::kGiB;
using poolalloc::test::kMiB;

constexpr uint64_t kSecond = 1000;  // ms

class History : public poolalloc::test::RetentionModel {
 public:
  explicit History(const char* name) : name_(name), start_us_(now_us) { step_made(); }
  ~History() override {
    printf("figure %s %ld %ld\n", name_, long(purged / kMiB), long(retention.needed_again.load_relaxed() / kMiB));
  }
  // Lets time pass as a program does that is not quite idle.
  void linger(uint64_t ms) {
    for (uint64_t at = 0; at < ms; at += 100) {
      wait(100);
      change(kMiB, 0);
      change(-kMiB, 0);
    }
  }

 private:
  void step_made() override {
    uint64_t ms = (now_us - start_us_) / 1000;
    if (ms < next_ms_) return;
    next_ms_ = ms + 20;
    printf("sample %s %ld %ld %ld\n", name_, long(ms), long(in_use * int64_t{kSliceSize} / 1024),
           long(resident() * int64_t{kSliceSize} / 1024));
  }

  const char* name_;
  uint64_t start_us_;
  uint64_t next_ms_ = 0;
};

void saw_tooth(const char* name, uint64_t ms) {
  History program(name);
  for (int round = 0; round < 8; round++) {
    program.change(kGiB, ms);
    program.change(-kGiB, ms);
  }
  program.linger(4 * kSecond);
}

}  // namespace

int main() {
  {
    History program("one-off-peak");
    program.change(kGiB, kSecond);
    program.change(-kGiB, kSecond / 2);
    program.linger(2 * kSecond);
  }
  saw_tooth("fast-saw-tooth", 100);
  saw_tooth("slow-saw-tooth", 1500);
  {
    History program("ramp");
    for (int step = 0; step < 20; step++) {
      program.change(100 * kMiB, kSecond / 4);
      program.change(-50 * kMiB, kSecond / 4);
    }
    program.change(-1000 * kMiB, kSecond);
    program.linger(kSecond);
  }
  {
    History program("batch-then-idle");
    for (int batch = 0; batch < 3; batch++) {
      for (int round = 0; round < 5; round++) {
        program.change(kGiB / 2, 200);
        program.change(-kGiB / 2, 200);
      }
      program.linger(5 * kSecond);
    }
  }
  return 0;
}
