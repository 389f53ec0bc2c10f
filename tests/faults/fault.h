// System calls that fail: which kinds there are, and one that is armed.
//
// Always holds: at most one fault is armed; calls are counted over all threads and over children, from its arming on;
// the counts lie in memory that children share, so that they outlive a crash.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <atomic>

#include "os/os.h"
#include "os/system_call.h"

namespace faults {

using Arguments = const long (&)[6];

// Calls that fail together.
struct Kind {
  const char* name;
  bool (*has)(long number, Arguments a);
  int errors[8];    // those of the manual page, and of a sandbox; the first one stands for all in long walks
  bool may_refuse;  // whether malloc may return nullptr for it
  bool has_half;    // whether the kernel may have done a part of it when it fails
};

template <long wanted>
bool is_call(long number, Arguments) {
  return number == wanted;
}
inline bool is_futex(long number, Arguments a, int command) {
  return number == SYS_futex && (a[1] & ~FUTEX_PRIVATE_FLAG) == command;
}
inline bool is_memory(long number) {
  return number == SYS_mmap || number == SYS_munmap || number == SYS_mremap || number == SYS_madvise;
}

inline constexpr Kind kKinds[] = {
    {"mmap", is_call<SYS_mmap>, {ENOMEM, EAGAIN, EPERM, EEXIST, EINVAL, EACCES, ENODEV}, true, false},
    {"munmap", is_call<SYS_munmap>, {ENOMEM, EINVAL}, false, false},
    {"mremap", is_call<SYS_mremap>, {ENOMEM, EAGAIN, EFAULT, EINVAL, ENOSYS}, false, false},
    {"madvise", is_call<SYS_madvise>, {ENOMEM, EINVAL, EAGAIN, EIO, EBADF, EPERM, ENOSYS}, false, true},
    // As for memory that is locked.
    {"madvise-dontneed",
     [](long number, Arguments a) { return number == SYS_madvise && a[2] == MADV_DONTNEED; },
     {EINVAL},
     false,
     true},
    {"memory", [](long number, Arguments) { return is_memory(number); }, {ENOMEM}, true, false},
    {"futex-wait",
     [](long number, Arguments a) { return is_futex(number, a, FUTEX_WAIT); },
     {EINTR, EAGAIN, ETIMEDOUT, EINVAL, ENOSYS},
     false,
     false},
    {"futex-wake",
     [](long number, Arguments a) { return is_futex(number, a, FUTEX_WAKE); },
     {EINVAL, EFAULT, ENOSYS},
     false,
     false},
    {"futex-look",
     [](long number, Arguments a) { return is_futex(number, a, FUTEX_CMP_REQUEUE); },
     {EFAULT, EAGAIN, EINVAL, ENOSYS},
     false,
     false},
    {"membarrier", is_call<SYS_membarrier>, {EPERM, EINVAL, ENOSYS}, false, false},
    // Those that block signals: what unblocks them is not refused where they were not.
    {"rt_sigprocmask",
     [](long number, Arguments a) { return number == SYS_rt_sigprocmask && a[2] != 0; },
     {EPERM, EFAULT, EINVAL, ENOSYS},
     false,
     false},
    {"openat", is_call<SYS_openat>, {ENOENT, EACCES, EINTR, EMFILE, ENFILE, ENOMEM, EPERM}, false, false},
    {"read", is_call<SYS_read>, {EIO, EINTR, EAGAIN, EISDIR}, false, true},
    {"write", is_call<SYS_write>, {EIO, EINTR, EAGAIN, EPIPE, ENOSPC, EBADF}, false, true},
    {"fcntl", is_call<SYS_fcntl>, {EBADF, EMFILE, EINVAL, EPERM}, false, false},
    {"fstat", is_call<SYS_fstat>, {EBADF, ENOMEM, EOVERFLOW, EPERM}, false, false},
    {"prlimit64", is_call<SYS_prlimit64>, {EPERM, EINVAL, ENOSYS}, false, false},
    // What a library can do without, in a sandbox that forbids it.
    {"optional",
     [](long number, Arguments a) {
       bool is_needed = number == SYS_mmap || number == SYS_munmap || is_futex(number, a, FUTEX_WAIT) ||
                        is_futex(number, a, FUTEX_WAKE) || number == SYS_rt_sigprocmask;
       return !is_needed;
     },
     {EPERM, ENOSYS},
     false,
     false},
};

// The calls from the first-th on, so many of them, fail; counted from 1. Or one in eight, for which `first` is a seed.
struct Fault {
  const Kind* kind;
  int error;
  uint64_t first, length;
  bool half;  // a part is done before
};
inline constexpr uint64_t kForEver = UINT64_MAX, kNowAndThen = kForEver - 1;

inline bool fails(const Fault& fault, uint64_t n) {
  if (fault.length == kNowAndThen) return ((n + fault.first * 0x10001) * 0x9e3779b97f4a7c15u) >> 61 == 0;
  return n >= fault.first && n - fault.first < fault.length;
}

struct Counts {
  std::atomic<uint64_t> seen, fired;
  std::atomic<bool> is_armed;
  std::atomic<const char*> phase;  // what the program is at
  std::atomic<uint64_t> refused;   // requests
};
inline Counts* counts;
inline Fault armed;

inline long ask_kernel(long number, Arguments a) {
  return poolalloc::kernel_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// What the kernel has done when it fails half-way: the first half of a range; of a text one byte, which is no failure.
inline long fail_half_way(long number, Arguments a) {
  if (number != SYS_madvise) return poolalloc::kernel_call(number, a[0], a[1], 1, 0, 0, 0);
  const long page = long(poolalloc::os_page_size());
  long half = a[1] / 2 / page * page;
  if (half != 0) poolalloc::kernel_call(number, a[0], half, a[2], 0, 0, 0);
  return -armed.error;
}

inline long answer(long number, Arguments a) {
  if (!armed.kind->has(number, a)) return ask_kernel(number, a);
  uint64_t n = counts->seen.fetch_add(1) + 1;
  if (!fails(armed, n)) return ask_kernel(number, a);
  counts->fired.fetch_add(1);
  return armed.half ? fail_half_way(number, a) : -armed.error;
}

inline void fault_arm(const Fault& fault) {
  armed = fault;
  counts->is_armed = true;
  poolalloc::stand_in.store_release(answer);
}
inline void fault_disarm() {
  poolalloc::stand_in.store_release(nullptr);
  counts->is_armed = false;
}
// So many calls of the kind were seen; so many of them failed.
inline uint64_t fault_seen() { return counts->seen; }
inline uint64_t fault_fired() { return counts->fired; }

// Zeroed memory that children share.
template <typename T>
T* make_shared() {
  return static_cast<T*>(mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}
inline void counts_reset(const char* phase) {
  counts->seen = counts->fired = counts->refused = 0;
  counts->is_armed = false;
  counts->phase = phase;
}

}  // namespace faults
