// Blocks with an inaccessible page on either side: what a program does to them that it may not do is noticed at once.
//
// One region of pages is reserved when the option is read. Every second page is a *slot*, which has one block at most;
// those between slots are never accessible, and a slot's page only while its block is in use. A block stands at the end
// of its page or at the start, by the toss of a coin; the rest of the page is filled with a pattern, which is looked at
// when the block is freed. Slots are taken in turn, and there are several times as many as blocks may be in use, so
// what is freed stays inaccessible for long.
//
// The equations, for each slot:
//   taken         by one thread at a time, by a compare-and-swap from unused, freed or live. That thread alone writes
//                 the record and changes the page's protection; it gives the slot up by a release store of what it is
//
//   live          the page is accessible, and has a block of record.size bytes at record.address
//
//   unused, freed the page is inaccessible
//
//   unused        there has been no block; else the record tells of the last one
//
// and of all of them: the slots that are live, or on the way there or back, are `alive` and not more than `alive_most`
//
// Without locks: a fork's child finds each slot as it was. One that another thread had taken stays taken for ever, and
// counts as alive: there is one less. So a handler may interrupt everything here, and allocate and free.
//
// A block is aligned to 16. A request that is a multiple of a larger power of two, as requests for aligned blocks are
// (malloc_api.cc), gets a block aligned to that, because a page's ends are.
//
// Who may use it: heap and api.
#pragma once

#include "base/atomic.h"
#include "base/bits.h"
#include "os/message.h"
#include "os/os.h"
#include "os/place.h"

namespace poolalloc {

enum class Caller : uint8_t;

// Which thread did something, and how it came there. The thread is 0 if nobody has.
struct GuardTrace {
  unsigned thread;
  StackTrace stack;
};

struct GuardRecord {
  uintptr_t address;  // of the block
  size_t size;        // what was asked for, bytes
  GuardTrace made;
  GuardTrace freed;
};

enum class GuardState : uint8_t { unused, taken, live, freed };

struct GuardSlot {
  Atomic<uint64_t> word;  // the state in the lower two bits; above them how often the slot has been taken
  GuardRecord record;
};

// Synchronization: what is not atomic is written once, by guard_start.
struct Guard {
  uintptr_t start;   // of the region: an inaccessible page, and after each slot's page another one
  size_t size;       // bytes; 0: there is no region
  GuardSlot* slots;  // apart from the pages
  unsigned slot_count;
  unsigned alive_most;
  Atomic<unsigned> alive;
  Atomic<uint64_t> alive_bytes;  // of those, as large as was asked for
  Atomic<unsigned> turn;         // the next slot to be taken, modulo slot_count
};
extern constinit Guard guard;

// Most blocks that may be in use.
inline constexpr unsigned kGuardAliveMost = 10000;

// Reserves a region for so many blocks in use, and has faults there reported. Once; later calls do nothing. False: no
// memory.
bool guard_start(unsigned alive_most);

// Whether the address is in the region.
inline bool guard_owns(const void* p) { return address_of(p) - guard.start < guard.size; }

// A guarded block of `size` bytes; its place depends on `random`. nullptr: it is larger than a page, or there are as
// many as there may be.
void* guard_alloc(size_t size, uint64_t random);
// Frees the block at p, an address in the region, or says what is wrong. Any thread.
void guard_free(void* p, Caller caller);
// Whether a block that is in use starts at p, and its size, which is left alone otherwise.
bool guard_has(const void* p, size_t* size);

// What is known of the block whose slot the address is in, or of the nearest one if it is between two. The state is
// never `taken`: a slot that is for long is looked at as if it were freed.
struct GuardView {
  GuardState state;
  GuardRecord record;
};
GuardView guard_look(uintptr_t address);
// Calls visit(record) for each block that is in use, until it returns true; whether it has.
template <typename Visit>
bool guard_blocks_find(Visit visit) {
  for (unsigned i = 0; i < guard.slot_count; i++) {
    const GuardView view = guard_look(guard.start + (2 * size_t{i} + 1) * os_page_size());
    if (view.state == GuardState::live && visit(view.record)) return true;
  }
  return false;
}

// --- For reports (guard_report.cc) -------------------------------------------------------------------------

struct AccessFault;
// Says what a fault in the region was. In a signal handler; other faults are none of its business.
void guard_report_fault(const AccessFault& fault);
// "3 bytes into a block of 10 bytes at ADDRESS", or before or after it.
Lines& guard_describe(Lines& message, uintptr_t address, const GuardRecord& record);
// Where the block was allocated, and where it was freed.
void guard_print_history(const GuardRecord& record);

}  // namespace poolalloc
