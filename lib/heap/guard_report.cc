// What is said of guarded blocks (guard.h): when an access faults, and where they came from.
//
// Always holds: nothing is allocated, no lock is taken: this runs in signal handlers. Reports are not mixed up; a
// thread whose report waits for another's does not wait for ever, because that one may have faulted again.
//
// Who may use it: through guard.h.
#include "heap/guard.h"
#include "os/access_fault.h"
#include "os/message.h"
#include "os/os.h"

namespace poolalloc {
namespace {

// A program that goes on after its faults is told of so many.
constexpr unsigned kReportsMost = 100;
constinit Atomic<unsigned> reports{0};

// The thread that reports; 0: none. Synchronization: atomic.
constinit Atomic<uint32_t> reporter{0};

class Turn {
 public:
  Turn() {
    constexpr unsigned kWaitsMost = 1000;
    for (unsigned waits = 0; waits < kWaitsMost && !reporter.cas_acquire(0, thread_); waits++) {
      const uint32_t other = reporter.load_relaxed();
      if (other == thread_) return;
      if (other != 0) os_wait(&reporter, other, 1);
    }
  }
  // Release: to the next one.
  ~Turn() {
    if (reporter.load_relaxed() == thread_) reporter.store_release(0);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  const uint32_t thread_ = os_thread_number();
};

Lines& bytes(Lines& message, size_t count) { return message.number(count).text(count == 1 ? " byte" : " bytes"); }

const char* name_of(AccessKind kind) {
  switch (kind) {
    case AccessKind::read:
      return "read";
    case AccessKind::write:
      return "write";
    case AccessKind::execute:
      return "execution";
    default:
      return "access";
  }
}

const char* kind_of(uintptr_t address, const GuardView& view) {
  if (view.state == GuardState::freed) return "use after free";
  return address < view.record.address ? "underflow" : "overflow";
}

void print_trace(const char* what, const GuardTrace& trace) {
  Message message;
  message.text(what).text(" by thread ").number(trace.thread).text(":").send();
  os_stack_print(trace.stack);
}

}  // namespace

Lines& guard_describe(Lines& message, uintptr_t address, const GuardRecord& record) {
  const uintptr_t end = record.address + record.size;
  if (address < record.address) {
    bytes(message, record.address - address).text(" before");
  } else if (address < end) {
    bytes(message, address - record.address).text(" into");
  } else {
    bytes(message, address - end).text(" after");
  }
  message.text(" a block of ");
  return bytes(message, record.size).text(" at ").address(pointer_to<void>(record.address));
}

void guard_print_history(const GuardRecord& record) {
  if (record.made.thread != 0) print_trace("allocated", record.made);
  if (record.freed.thread != 0) print_trace("freed", record.freed);
}

void guard_report_fault(const AccessFault& fault) {
  if (!guard_owns(pointer_to<void>(fault.address))) return;
  const GuardView view = guard_look(fault.address);
  if (view.state == GuardState::unused || reports.add_relaxed(1) >= kReportsMost) return;
  Turn turn;
  Message message;
  message.text(kind_of(fault.address, view)).text(": ").text(name_of(fault.kind)).text(" of ");
  message.address(pointer_to<void>(fault.address)).text(", ");
  guard_describe(message, fault.address, view.record);
  message.text(", by thread ").number(os_thread_number()).text(":").send();
  StackTrace trace;
  os_stack_take(trace, fault.pc);
  os_stack_print(trace);
  guard_print_history(view.record);
}

}  // namespace poolalloc
