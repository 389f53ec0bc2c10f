// The sleeps and the report of the build with -Dchaos=true (base/chaos.h).
//
// Always holds: part of that build only; async-signal-safe, allocates nothing; asks the kernel itself, because
// system_call has atomic operations.
// Who may use it: through base/chaos.h.
#include "base/chaos.h"

#include <time.h>

#include "base/bits.h"
#include "os/message.h"
#include "os/system_call.h"

namespace poolalloc {

void chaos_yield() { kernel_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0); }

void chaos_sleep(uint64_t random) {
  // So that each power of two below is as likely as the others.
  uint64_t most = uint64_t{1} << (random % 26);
  struct timespec time {
    0, long((random >> 5) % most)
  };
  kernel_call(SYS_nanosleep, long(address_of(&time)), 0, 0, 0, 0, 0);
}

uint64_t chaos_seed() {
  struct timespec now {};
  kernel_call(SYS_clock_gettime, CLOCK_MONOTONIC, long(address_of(&now)), 0, 0, 0, 0);
  return (uint64_t(now.tv_nsec) * 0x9e3779b97f4a7c15u ^ address_of(&chaos_state)) | 1;
}

void chaos_report() {
  static constexpr const char* kNames[] = {"evicted",        "seized_returned", "seized_found",  "batch_taken",
                                           "batches_back",   "pool_vacated",    "mail_put_back", "orphan_drained",
                                           "orphan_settled", "orphan_adopted",  "late_trap",     "hole_made",
                                           "hole_filled"};
  static_assert(sizeof kNames / sizeof kNames[0] == unsigned(ChaosEvent::count), "each event has a name");
  for (unsigned i = 0; i < unsigned(ChaosEvent::count); i++) {
    Message message;
    message.text("chaos: ").text(kNames[i]).text(" ").number(chaos_counts[i]).send();
  }
}

}  // namespace poolalloc
