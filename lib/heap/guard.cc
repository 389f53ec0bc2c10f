// Guarded blocks (guard.h).
//
// Who may use it: through guard.h.
#include "heap/guard.h"

#include <string.h>

#include "base/check.h"
#include "heap/misuse.h"
#include "os/access_fault.h"
#include "os/os.h"

namespace poolalloc {

constinit Guard guard{};

namespace {

// Slots for each block that may be in use.
constexpr unsigned kSlotsPerBlock = 4;
constexpr unsigned char kPattern = 0xb5;

GuardState state_of(uint64_t word) { return GuardState(word & 3); }
uint64_t with_state(uint64_t word, GuardState state) { return (word & ~uint64_t{3}) | uint64_t(state); }
uint64_t taken_after(uint64_t word) { return with_state(word + 4, GuardState::taken); }

uintptr_t page_start(const GuardSlot* slot) {
  return guard.start + (2 * size_t(slot - guard.slots) + 1) * os_page_size();
}

// The slot whose page the address is in; nullptr: none.
GuardSlot* slot_around(uintptr_t address) {
  size_t page = (address - guard.start) / os_page_size();
  return page % 2 != 0 ? &guard.slots[page / 2] : nullptr;
}

// --- Taking slots -----------------------------------------------------------------------------------------

// Whether there may be one more block.
bool alive_add() {
  if (guard.alive.load_relaxed() >= guard.alive_most) return false;
  if (guard.alive.add_relaxed(1) < guard.alive_most) return true;
  guard.alive.sub_relaxed(1);
  return false;
}

// The next slot without a block, in turn; nullptr: all are live or taken, as after forks they may be. `before` is what
// its word was.
GuardSlot* slot_take(uint64_t* before) {
  for (unsigned tries = 0; tries < guard.slot_count; tries++) {
    GuardSlot& slot = guard.slots[guard.turn.add_relaxed(1) % guard.slot_count];
    *before = slot.word.load_relaxed();
    if (state_of(*before) == GuardState::live || state_of(*before) == GuardState::taken) continue;
    // Acquire: whoever gave it up is done with the record and the page.
    if (slot.word.cas_acquire(*before, taken_after(*before))) return &slot;
  }
  return nullptr;
}

// Release: the record and the page, to whoever takes or looks at the slot.
void slot_give(GuardSlot& slot, GuardState state) {
  slot.word.store_release(with_state(slot.word.load_relaxed(), state));
}

void trace_take(GuardTrace& trace) {
  trace.thread = os_thread_number();
  os_stack_take(trace.stack, 0);
}

// --- The rest of the page ---------------------------------------------------------------------------------

void rest_fill(uintptr_t page, const GuardRecord& record) {
  uintptr_t end = record.address + record.size;
  memset(pointer_to<void>(page), kPattern, record.address - page);
  memset(pointer_to<void>(end), kPattern, page + os_page_size() - end);
}

bool is_pattern(uintptr_t start, uintptr_t end) {
  const unsigned char* bytes = pointer_to<const unsigned char>(start);
  return start == end || (bytes[0] == kPattern && memcmp(bytes, bytes + 1, end - start - 1) == 0);
}

// The nearest byte around the block that was written to; 0: none was.
uintptr_t rest_look(uintptr_t page, const GuardRecord& record) {
  const uintptr_t end = record.address + record.size, page_end = page + os_page_size();
  auto is_written = [](uintptr_t at) { return *pointer_to<const unsigned char>(at) != kPattern; };
  uintptr_t at = end;
  if (!is_pattern(end, page_end)) {
    while (!is_written(at)) at++;
    return at;
  }
  if (is_pattern(page, record.address)) return 0;
  at = record.address - 1;
  while (!is_written(at)) at--;
  return at;
}

// --- Looking ----------------------------------------------------------------------------------------------

// The slot may be taken meanwhile; whether it was is looked at afterwards.
PA_RACY void record_copy(GuardRecord& to, const GuardRecord& from) {
  static_assert(sizeof(GuardRecord) % sizeof(uint64_t) == 0);
  const volatile uint64_t* source = reinterpret_cast<const volatile uint64_t*>(&from);
  uint64_t* words = reinterpret_cast<uint64_t*>(&to);
  for (size_t i = 0; i < sizeof to / sizeof(uint64_t); i++) words[i] = source[i];
}

GuardView slot_look(const GuardSlot& slot) {
  GuardView view;
  constexpr unsigned kLooks = 10000;
  for (unsigned looks = 0;; looks++) {
    // Acquire: the record.
    uint64_t word = slot.word.load_acquire();
    record_copy(view.record, slot.record);
    // The record before the second look at the word.
    fence_seq_cst();
    bool is_still = slot.word.load_relaxed() == word && state_of(word) != GuardState::taken;
    view.state = is_still ? state_of(word) : GuardState::freed;
    if (is_still || looks == kLooks) return view;
    spin_pause();
  }
}

size_t distance_from(uintptr_t address, const GuardRecord& record) {
  return address < record.address ? record.address - address : address - (record.address + record.size);
}

}  // namespace

bool guard_start(unsigned alive_most) {
  if (guard.size != 0) return true;
  const size_t page = os_page_size();
  const unsigned slots = alive_most * kSlotsPerBlock;
  const size_t size = (2 * size_t{slots} + 1) * page, records_size = round_up(slots * sizeof(GuardSlot), page);
  void* records = os_map(records_size, page);
  void* pages = os_map(size, page);
  if (records == nullptr || pages == nullptr || !os_protect(pages, size, false)) {
    if (records != nullptr) os_discard(records, records_size);
    if (pages != nullptr) os_discard(pages, size);
    return false;
  }
  guard.slots = static_cast<GuardSlot*>(records);
  guard.slot_count = slots;
  guard.alive_most = alive_most;
  guard.start = address_of(pages);
  guard.size = size;
  os_stack_start();
  os_faults_watch(guard_report_fault);
  return true;
}

void* guard_alloc(size_t size, uint64_t random) {
  const size_t page_size = os_page_size();
  if (size > page_size || !alive_add()) return nullptr;
  uint64_t before;
  GuardSlot* slot = slot_take(&before);
  uintptr_t page = slot != nullptr ? page_start(slot) : 0;
  if (slot == nullptr || !os_protect(pointer_to<void>(page), page_size, true)) {
    if (slot != nullptr) slot_give(*slot, state_of(before));
    guard.alive.sub_relaxed(1);
    return nullptr;
  }
  GuardRecord& record = slot->record;
  const bool is_at_start = random >> 63 != 0;
  record.address = is_at_start ? page : page + page_size - round_up(size != 0 ? size : 1, kBlockAlignment);
  record.size = size;
  record.freed.thread = 0;
  trace_take(record.made);
  rest_fill(page, record);
  slot_give(*slot, GuardState::live);
  guard.alive_bytes.add_relaxed(size);
  return pointer_to<void>(record.address);
}

void guard_free(void* p, Caller caller) {
  GuardSlot* slot = slot_around(address_of(p));
  // Acquire: the record.
  uint64_t word = slot != nullptr ? slot->word.load_acquire() : 0;
  // Of two threads that free a block one takes the slot, and the other one is told.
  bool is_block = state_of(word) == GuardState::live && slot->record.address == address_of(p) &&
                  slot->word.cas_acquire(word, taken_after(word));
  if (!is_block) return misuse_guarded(caller, p, guard_look(address_of(p)));
  guard.alive_bytes.sub_relaxed(slot->record.size);
  const uintptr_t page = page_start(slot);
  uintptr_t written = rest_look(page, slot->record);
  if (PA_UNLIKELY(written != 0)) misuse_guarded_overrun(caller, p, written, GuardView{GuardState::live, slot->record});
  trace_take(slot->record.freed);
  os_protect(pointer_to<void>(page), os_page_size(), false);
  slot_give(*slot, GuardState::freed);
  guard.alive.sub_relaxed(1);
}

bool guard_has(const void* p, size_t* size) {
  const GuardSlot* slot = slot_around(address_of(p));
  // Acquire: the record.
  if (slot == nullptr || state_of(slot->word.load_acquire()) != GuardState::live) return false;
  if (slot->record.address != address_of(p)) return false;
  *size = slot->record.size;
  return true;
}

GuardView guard_look(uintptr_t address) {
  if (const GuardSlot* slot = slot_around(address)) return slot_look(*slot);
  // Between two: the nearest block that is in use, or else was.
  const size_t right = (address - guard.start) / os_page_size() / 2;
  GuardView nearest{};
  for (size_t i = right == 0 ? 0 : right - 1; i <= right && i < guard.slot_count; i++) {
    const GuardView view = slot_look(guard.slots[i]);
    if (view.state == GuardState::unused) continue;
    bool is_nearer = distance_from(address, view.record) < distance_from(address, nearest.record);
    bool is_better = view.state == nearest.state ? is_nearer : view.state == GuardState::live;
    if (nearest.state == GuardState::unused || is_better) nearest = view;
  }
  return nearest;
}

}  // namespace poolalloc
