// Faults of accesses (access_fault.h) on Linux.
//
// Always holds: the handler takes no lock and does not allocate. libc's sigaction is used, whose handlers unwinders and
// debuggers know how to leave; it allocates nothing.
// Who may use it: through access_fault.h only.
#include "os/access_fault.h"

#include <errno.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "os/os.h"
#include "os/system_call.h"

namespace poolalloc {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS};

// What was installed before, in the same order. Synchronization: written before the handler is installed, and once more
// by whoever uses up a handler that is for one signal only.
constinit struct sigaction before[2]{};
using Visit = void (*)(const AccessFault& fault);
// Synchronization: as `before`.
constinit Visit visit_fault = nullptr;

// --- What the kernel says of a fault ----------------------------------------------------------------------

#if defined(__x86_64__)
uintptr_t pc_of(const ucontext_t& context) { return uintptr_t(context.uc_mcontext.gregs[REG_RIP]); }

// The processor's error code.
AccessKind kind_of(const ucontext_t& context) {
  constexpr uint64_t kPageFault = 14, kWrite = 2, kFetch = 16;
  if (context.uc_mcontext.gregs[REG_TRAPNO] != kPageFault) return AccessKind::unknown;
  uint64_t error = uint64_t(context.uc_mcontext.gregs[REG_ERR]);
  if ((error & kFetch) != 0) return AccessKind::execute;
  return (error & kWrite) != 0 ? AccessKind::write : AccessKind::read;
}
#else
uintptr_t pc_of(const ucontext_t& context) { return uintptr_t(context.uc_mcontext.pc); }

// The exception's syndrome, in one of the records behind the registers.
AccessKind kind_of(const ucontext_t& context) {
  struct Record {
    uint32_t magic, size;
    uint64_t syndrome;
  };
  constexpr uint32_t kSyndrome = 0x45535201;
  constexpr uint64_t kWrite = 64;
  const char* at = reinterpret_cast<const char*>(context.uc_mcontext.__reserved);
  const char* end = at + sizeof context.uc_mcontext.__reserved;
  while (size_t(end - at) >= sizeof(Record)) {
    const Record& record = *reinterpret_cast<const Record*>(at);
    if (record.magic == kSyndrome) {
      uint64_t exception = record.syndrome >> 26;
      if (exception == 0x20 || exception == 0x21) return AccessKind::execute;
      return (record.syndrome & kWrite) != 0 ? AccessKind::write : AccessKind::read;
    }
    if (record.magic == 0 || record.size < 8 || record.size > size_t(end - at)) break;
    at += record.size;
  }
  return AccessKind::unknown;
}
#endif

// --- Going on ---------------------------------------------------------------------------------------------

// The default action from here on. A fault happens again when the handler returns; a signal that somebody sent must be
// sent again.
void take_default(int number, const siginfo_t* info) {
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  sigaction(number, &plain, nullptr);
  if (info->si_code <= 0)
    system_call(SYS_rt_tgsigqueueinfo, os_process_id(), long(os_thread_number()), number, long(address_of(info)));
}

void pass_on(int number, siginfo_t* info, void* context, struct sigaction& to) {
  const struct sigaction action = to;
  bool is_sent = info->si_code <= 0;
  if (action.sa_handler == SIG_IGN && is_sent) return;
  // The kernel does not let a fault be ignored.
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) return take_default(number, info);
  if ((action.sa_flags & SA_RESETHAND) != 0) to.sa_handler = SIG_DFL;
  // With the signals blocked that it wants blocked; the end of this handler brings back those from before the fault.
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, number);
  pthread_sigmask(SIG_BLOCK, &action.sa_mask, nullptr);
  if ((action.sa_flags & SA_NODEFER) != 0) pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(number, info, context);
  } else {
    action.sa_handler(number);
  }
}

void on_signal(int number, siginfo_t* info, void* context) {
  const int error = errno;
  if (info->si_code > 0) {
    const ucontext_t& where = *static_cast<const ucontext_t*>(context);
    visit_fault(AccessFault{address_of(info->si_addr), pc_of(where), kind_of(where)});
  }
  errno = error;
  pass_on(number, info, context, before[number == kSignals[0] ? 0 : 1]);
}

}  // namespace

bool os_faults_watch(void (*visit)(const AccessFault& fault)) {
  visit_fault = visit;
  bool is_watched = true;
  for (unsigned i = 0; i < 2; i++) {
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    // What was there must be known before the first signal can come.
    is_watched &= sigaction(kSignals[i], nullptr, &before[i]) == 0 && sigaction(kSignals[i], &action, nullptr) == 0;
  }
  return is_watched;
}

}  // namespace poolalloc
