// Accounts of memory (accounts.h).
//
// Who may use it: through accounts.h.
#include "chunk/accounts.h"

#include "os/os.h"

namespace poolalloc {

constinit Accounts accounts{};
constinit RetentionPolicy retention_policy = kDefaultPolicy;

void account_claim(int64_t size, int64_t dirty, int64_t used, int64_t given_back) {
  if (dirty != 0) accounts.dirty_free.sub_relaxed(dirty);
  int64_t in_use = accounts.in_use.add_relaxed(size) + size;
  int64_t peak = accounts.peak.load_relaxed();
  while (in_use > peak && !accounts.peak.cas_weak_relaxed(peak, in_use)) {
  }
  int64_t level = accounts.used_free.sub_relaxed(used) - used;
  retention_note_claim(accounts.retention, size, given_back, in_use, level, os_clock_ms());
}

void account_release(int64_t size) {
  int64_t in_use = accounts.in_use.sub_relaxed(size) - size;
  accounts.dirty_free.add_relaxed(size);
  int64_t level = accounts.used_free.add_relaxed(size) + size;
  retention_note_release(accounts.retention, size, in_use, level, os_clock_ms());
}

void account_purge(int64_t size) {
  accounts.dirty_free.sub_relaxed(size);
  accounts.purged.add_relaxed(uint64_t(size));
}

void account_unmap(int64_t size, int64_t dirty, int64_t used) {
  account_purge(dirty);
  accounts.used_free.sub_relaxed(used);
  accounts.mapped.sub_relaxed(size);
}

}  // namespace poolalloc
