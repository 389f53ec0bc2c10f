// For who searches the memory of the whole process: reading what may go at any moment, which pages there are, where
// other threads are in their stacks.
//
// Always holds: nothing faults; what the kernel does not say is said to be unknown.
// Who may use it: inspect.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace poolalloc {

// Copies memory of this process; false: some of it is not mapped, or the kernel refuses.
bool os_memory_copy(void* to, uintptr_t from, size_t size);

// Which pages of the process have memory, resident or swapped out.
class PagesPresent {
 public:
  PagesPresent();
  ~PagesPresent();
  PagesPresent(const PagesPresent&) = delete;
  PagesPresent& operator=(const PagesPresent&) = delete;

  // Bit i: page i of those from the address on, up to 64 of them, may have. All, where the kernel does not say.
  uint64_t from(uintptr_t address, unsigned count) const;

 private:
  long file_;
};

// Calls visit(stack pointer) for each other thread that waits for something in the kernel; 0 for one that runs, or of
// which nothing is known.
void os_other_threads_visit(void (*visit)(void* context, uintptr_t stack_pointer), void* context);

// Whether memory that ends there is the stack of a thread that has ended, which libc keeps for another one: libc's
// record of the thread is at its end. False where the record is not known, and in the child of a fork, where it says so
// of threads that have vanished.
bool os_is_ended_stack(uintptr_t start, uintptr_t end);
// Bytes of that record, at the most.
inline constexpr size_t kThreadRecordMost = 4096;

}  // namespace poolalloc
