// What memory there is, in bytes: in use, free and still resident, given back; and what may be kept.
//
// The equations, when nobody is claiming or releasing:
//   in_use     == slices claimed, and extents that are blocks
//   dirty_free == slices and extents that are free and dirty: their memory may be resident
//   used_free  == what is free and has been in use before, dirty or not
//   mapped     == address space of all regions, and of all extents
//
// A large block counts with all its OS pages, also those that the program never touches.
//
// Synchronization: all atomic.
// Who may use it: chunk; heap for what is in use; api for options and statistics.
#pragma once

#include "base/atomic.h"
#include "chunk/retention.h"

namespace poolalloc {

struct Accounts {
  Atomic<int64_t> in_use;
  Atomic<int64_t> peak;  // the most that was in use, as seen by claimers
  Atomic<int64_t> dirty_free;
  Atomic<int64_t> used_free;
  Atomic<int64_t> mapped;
  Atomic<uint64_t> purged;     // given back to the kernel, in all
  Atomic<int64_t> large;       // the part of in_use that is extents
  Atomic<int64_t> untouched;   // bytes in pools that were never handed out
  Atomic<int64_t> pool_loose;  // bytes free in partial pools that may be worth giving back (heap/holes.h)
  Atomic<int64_t> budget;      // free memory that may be kept, as of the last look
  Retention retention;
};

extern constinit Accounts accounts;

// The part of what is in use that is slices.
inline int64_t slices_size() { return accounts.in_use.load_relaxed() - accounts.large.load_relaxed(); }
extern constinit RetentionPolicy retention_policy;

// Free memory that may be kept, now, on account of what `r` has noted.
inline int64_t budget_now(const Retention& r) {
  return retention_budget(r, accounts.in_use.load_relaxed(), retention_policy);
}

// Whether free memory goes back without being asked for.
inline bool may_purge() { return retention_policy.floor.load_relaxed() != kUnlimited; }

// Accounts a claim of `size` bytes, of which `dirty` were dirty, `used` had been in use before, and `given_back` both
// had been in use and were clean.
void account_claim(int64_t size, int64_t dirty, int64_t used, int64_t given_back);
// Accounts memory that becomes free, and dirty.
void account_release(int64_t size);
// Accounts dirty free memory that has been given back.
void account_purge(int64_t size);
// Accounts address space that goes, with what of it was dirty and had been in use.
void account_unmap(int64_t size, int64_t dirty, int64_t used);

}  // namespace poolalloc
