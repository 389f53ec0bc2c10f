// The operating system's contract (os.h) on Linux.
//
// Always holds: system calls are issued directly; a negative result is classified here and nowhere
// else. Optional calls that a sandbox may refuse are never needed for correctness.
// Who may use it: through os.h only.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/constants.h"
#include "base/policy.h"
#include "base/probe.h"
#include "os/message.h"
#include "os/os.h"
#include "os/system_call.h"

extern "C" __attribute__((weak)) void _IO_list_lock();
extern "C" __attribute__((weak)) void _IO_list_unlock();
extern "C" __attribute__((weak)) void _IO_list_resetlock();

namespace poolalloc {
namespace {

// Where what was mapped last begins: the next mapping goes below it, so that the kernel can merge them.
PA_NOTE constinit Atomic<uintptr_t> lowest{0};
// What was unmapped last, or what is left of it: there a mapping that fits goes first, so that addresses are used
// again. Only hints: two threads may mix theirs up.
PA_NOTE constinit Atomic<uintptr_t> hole_start{0};
PA_NOTE constinit Atomic<uintptr_t> hole_end{0};
constexpr size_t kHoleLeast = size_t{1} << 20;

// Mappings merge within so many bytes only: the kernel lets a process fork only if each single mapping could be had
// once more.
constexpr uintptr_t kMergeWithin = uintptr_t{1} << 30;

// Where a mapping should go; 0: anywhere.
uintptr_t place_for(size_t size, size_t alignment) {
  uintptr_t end = kHardened ? hole_start.load_relaxed() : hole_end.load_relaxed();
  // What is small would break it up.
  bool may_fit = size >= kHoleLeast && end - hole_start.load_relaxed() >= size;
  if (may_fit && round_down(end - size, alignment) >= hole_start.load_relaxed())
    return round_down(end - size, alignment);
  uintptr_t below = lowest.load_relaxed();
  if (below <= size + alignment) return 0;
  uintptr_t start = round_down(below - size, alignment);
  bool may_touch = start / kMergeWithin == (below - 1) / kMergeWithin;
  return may_touch || start + size < below ? start : start - alignment;
}

void note_place(uintptr_t start) {
  if (start >= hole_start.load_relaxed() && start < hole_end.load_relaxed()) {
    hole_end.store_relaxed(start);
  } else {
    lowest.store_relaxed(start);
  }
}

void* map_at(uintptr_t hint, size_t size, int protection = PROT_READ | PROT_WRITE, int more_flags = 0) {
  // Not MAP_NORESERVE: the kernel shall refuse what it never could give.
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | more_flags;
  long result = system_call(SYS_mmap, long(hint), long(size), protection, flags, -1, 0);
  return failed(result) ? nullptr : pointer_to(uintptr_t(result));
}

bool unmap(uintptr_t start, uintptr_t end) {
  return start == end || !failed(system_call(SYS_munmap, long(start), long(end - start)));
}

// Address space that nobody uses, but the kernel did not take back: it is asked again whenever it has taken something
// else. Synchronization: start is not 0 while the place is taken; who sets end to 0 may unmap.
struct Refused {
  Atomic<uintptr_t> start, end;
};
PA_NOTE constinit Refused refused[128]{};
constinit Atomic<bool> any_refused{false};

void unmap_or_note(uintptr_t start, uintptr_t end) {
  if (unmap(start, end)) return;
  for (Refused& each : refused) {
    if (each.start.load_relaxed() != 0 || !each.start.cas_acquire(0, start)) continue;
    // Release: start, to those who ask again.
    each.end.store_release(end);
    any_refused.store_relaxed(true);
    return;
  }
}

PA_COLD void refused_ask_again() {
  any_refused.store_relaxed(false);
  for (Refused& each : refused) {
    uintptr_t end = each.end.exchange_acquire(0);
    if (end == 0) continue;
    if (unmap(each.start.load_relaxed(), end)) {
      each.start.store_release(0);
    } else {
      each.end.store_release(end);
      any_refused.store_relaxed(true);
    }
  }
}

// Mappings to do without when the program has as many as the kernel allows. Then what continues another one is still
// mapped, but only once there is one fewer; and what does not join it, because that is in huge pages, takes the place
// of one. From then on nothing can be advised, so all that follows joins. 0: none.
constexpr unsigned kSpareMappings = 2;
PA_NOTE constinit Atomic<uintptr_t> spare_mappings[kSpareMappings]{};

// From the second mapping on: a program that does little needs none.
void spare_mappings_make() {
  if (lowest.load_relaxed() == 0) return;
  // Of no memory, and each of its own kind, so that they join no neighbour.
  constexpr int kKinds[kSpareMappings] = {PROT_NONE, PROT_READ};
  for (unsigned i = 0; i < kSpareMappings; i++) {
    if (PA_LIKELY(spare_mappings[i].load_relaxed() != 0)) continue;
    void* p = map_at(0, os_page_size(), kKinds[i]);
    if (p != nullptr && !spare_mappings[i].cas_acquire(0, address_of(p)))
      unmap_or_note(address_of(p), address_of(p) + os_page_size());
  }
}

bool spare_mapping_give_up() {
  for (Atomic<uintptr_t>& each : spare_mappings) {
    uintptr_t spare = each.exchange_acquire(0);
    if (spare == 0) continue;
    unmap_or_note(spare, spare + os_page_size());
    return true;
  }
  return false;
}

// What continues the mapping that was made last. What alignment leaves between the two goes back.
void* map_on(size_t size, size_t alignment) {
  bool has_room;
  do {
    has_room = spare_mapping_give_up();
    uintptr_t below = lowest.load_relaxed();
    if (below <= size + alignment) return nullptr;
    uintptr_t start = round_down(below - size, alignment);
    void* p = map_at(start, below - start, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
    if (p == nullptr) continue;
    unmap_or_note(address_of(p) + size, address_of(p) + (below - start));
    return p;
  } while (has_room);
  return nullptr;
}

// MADV_DONTNEED_LOCKED, since Linux 5.18.
constexpr int kDontNeedLocked = 24;

constinit Atomic<bool> stderr_is_ours{true};

// A duplicate of stderr, with what identifies the file it stands for; descriptor 0: none.
struct KeptStderr {
  int descriptor;
  dev_t device;
  ino_t inode;
};
constinit KeptStderr kept_stderr{};

bool stat_descriptor(int descriptor, struct stat* status) {
  return !failed(system_call(SYS_fstat, descriptor, as_long(status)));
}

// The duplicate, unless the program has closed it and its number means another file by now.
int message_descriptor() {
  struct stat now;
  bool is_kept = kept_stderr.descriptor != 0 && stat_descriptor(kept_stderr.descriptor, &now) &&
                 now.st_dev == kept_stderr.device && now.st_ino == kept_stderr.inode;
  return is_kept ? kept_stderr.descriptor : STDERR_FILENO;
}

// How often this thread has blocked them. Only written in checking builds.
__thread unsigned signals_blocked;

}  // namespace

constinit Atomic<uint64_t> os_calls[kOsCallKinds]{};

size_t os_page_size() {
  static constinit Atomic<size_t> cached{0};
  size_t size = cached.load_relaxed();
  if (PA_UNLIKELY(size == 0)) {
    size = getauxval(AT_PAGESZ);
    if (!is_power_of_two(size)) size = 4096;
    if constexpr (kHasTestedPages) size = tested_page_size(size);
    PA_VERIFY(size <= kSliceSize);
    cached.store_relaxed(size);
  }
  return size;
}

void* os_map(size_t size, size_t alignment) {
  PA_ASSERT(is_power_of_two(alignment) && size % os_page_size() == 0);
  if (size == 0 || size > kRequestMax - alignment) return nullptr;
  uintptr_t hint = place_for(size, alignment);
  void* p = map_at(hint, size);
  if (p == nullptr) p = map_on(size, alignment);
  if (p == nullptr) return nullptr;
  if (address_of(p) % alignment != 0) {
    unmap_or_note(address_of(p), address_of(p) + size);
    // Take enough to contain an aligned piece, and give the ends back.
    void* wide = map_at(0, size + alignment - os_page_size());
    if (wide == nullptr) return nullptr;
    uintptr_t start = round_up(address_of(wide), alignment);
    unmap_or_note(address_of(wide), start);
    unmap_or_note(start + size, address_of(wide) + size + alignment - os_page_size());
    p = pointer_to(start);
  }
  spare_mappings_make();
  note_place(address_of(p));
  return p;
}

bool os_unmap(void* p, size_t size) {
  uintptr_t start = address_of(p);
  if (!unmap(start, start + size)) return false;
  if (PA_UNLIKELY(any_refused.load_relaxed())) refused_ask_again();
  if (size >= kHoleLeast) {
    hole_start.store_relaxed(start);
    hole_end.store_relaxed(start + size);
  }
  return true;
}

void os_discard(void* p, size_t size) { unmap_or_note(address_of(p), address_of(p) + size); }

// Whether the kernel does what it says: an emulator of other processors may pass over MADV_DONTNEED. Looks once.
static bool purging_clears() {
  enum : unsigned { unknown, clears, keeps };
  static constinit Atomic<unsigned> found{unknown};
  if (PA_LIKELY(found.load_relaxed() != unknown)) return found.load_relaxed() == clears;
  void* mapped = map_at(0, os_page_size());
  if (mapped == nullptr) mapped = map_on(os_page_size(), os_page_size());
  if (mapped == nullptr) return false;
  volatile char* page = static_cast<char*>(mapped);
  *page = 1;
  bool is_done = !failed(system_call(SYS_madvise, as_long(page), long(os_page_size()), MADV_DONTNEED));
  found.store_relaxed(is_done && *page != 0 ? keeps : clears);
  unmap_or_note(address_of(page), address_of(page) + os_page_size());
  return found.load_relaxed() == clears;
}

bool os_purge(void* p, size_t size) {
  PA_PROBE2(purge, p, size);
  if (!purging_clears()) return false;
  return !failed(system_call(SYS_madvise, as_long(p), long(size), MADV_DONTNEED)) ||
         !failed(system_call(SYS_madvise, as_long(p), long(size), kDontNeedLocked));
}

void os_populate(void* p, size_t size) {
  // MADV_POPULATE_WRITE.
  constexpr int kPopulateWrite = 23;
  static constinit Atomic<bool> may_populate{true};
  if (!may_populate.load_relaxed()) return;
  const long result = system_call(SYS_madvise, as_long(p), long(size), kPopulateWrite);
  if (result == -EINVAL || result == -EPERM || result == -ENOSYS) may_populate.store_relaxed(false);
}

// MADV_GUARD_INSTALL and MADV_GUARD_REMOVE, since Linux 6.13: pages that fault without a mapping of their own, in a
// third of the time that mprotect takes. Not for locked memory at first.
enum : int { kGuardInstall = 102, kGuardRemove = 103 };
// Whether that works, as far as is known, and which ways were used. Synchronization: a page is made accessible by who
// knows that it was made inaccessible.
static constinit Atomic<bool> may_guard{true}, has_guarded{false}, has_protected{false};

bool os_protect(void* p, size_t size, bool accessible) {
  auto advise = [&](int advice) { return !failed(system_call(SYS_madvise, as_long(p), long(size), advice)); };
  auto protect = [&](int access) { return !failed(system_call(SYS_mprotect, as_long(p), long(size), access)); };
  if (accessible)
    return (!has_guarded.load_relaxed() || advise(kGuardRemove)) &&
           (!has_protected.load_relaxed() || protect(PROT_READ | PROT_WRITE));
  // As with purging_clears: an emulator may pass over the advice.
  auto is_guarded = [&] { return has_guarded.load_relaxed() || os_word_look(p) == WordState::unreadable; };
  if (may_guard.load_relaxed() && advise(kGuardInstall) && is_guarded()) {
    has_guarded.store_relaxed(true);
    return true;
  }
  may_guard.store_relaxed(false);
  has_protected.store_relaxed(true);
  os_purge(p, size);
  return protect(PROT_NONE);
}

bool os_hide(void* p, size_t size) {
  // As in map_at: accessible again, it shall join its neighbours, or each is a mapping of its own.
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  has_protected.store_relaxed(true);
  return !failed(system_call(SYS_mmap, as_long(p), long(size), PROT_NONE, kFlags, -1, 0));
}

bool os_is_locked(void* p, size_t size) {
  // With this error for locked memory only, of what was mapped just now; a sandbox may refuse the call with another.
  return system_call(SYS_madvise, as_long(p), long(size), MADV_DONTNEED) == -EINVAL;
}

constinit Atomic<bool> os_names_wanted{false};

void os_name(void* p, size_t size, const char* name) {
  // PR_SET_VMA, PR_SET_VMA_ANON_NAME.
  constexpr long kSetVma = 0x53564d41, kAnonymousName = 0;
  if (os_names_wanted.load_relaxed())
    system_call(SYS_prctl, kSetVma, kAnonymousName, as_long(p), long(size), as_long(name));
}

void os_advise_huge(void* p, size_t size, bool wanted) {
  system_call(SYS_madvise, as_long(p), long(size), wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void* os_move(void* p, size_t old_size, size_t new_size) {
  long result = system_call(SYS_mremap, as_long(p), long(old_size), long(new_size), MREMAP_MAYMOVE);
  return failed(result) ? nullptr : pointer_to(uintptr_t(result));
}

WordState os_word_look(const void* p) {
  // Moves no waiters from the word to itself, provided that it is zero.
  long result = system_call(SYS_futex, as_long(p), FUTEX_CMP_REQUEUE_PRIVATE, 0, 0, as_long(p), 0);
  return result == -EAGAIN ? WordState::set : failed(result) ? WordState::unreadable : WordState::zero;
}

unsigned os_thread_number() { return unsigned(system_call(SYS_gettid)); }

unsigned os_thread_number_known() {
  // The kernel's name for a thread's clock of processor time has the thread's number, complemented, above three bits.
  clockid_t clock;
  return pthread_getcpuclockid(pthread_self(), &clock) == 0 ? ~unsigned(clock >> 3) : 0;
}

int os_process_id() { return int(system_call(SYS_getpid)); }
int os_parent_id() { return int(system_call(SYS_getppid)); }

void os_exit(int status) {
  for (;;) system_call(SYS_exit_group, status);
}

bool os_barrier_others() {
  auto barrier = [](int command) { return !failed(system_call(SYS_membarrier, command, 0, 0)); };
  if (barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) return true;
  // Refused until the process has asked for it, once.
  return barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) && barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

void os_wait(const void* word, uint32_t value, unsigned at_most_ms) {
  timespec most{at_most_ms / 1000, at_most_ms % 1000 * 1'000'000};
  long limit = at_most_ms == 0 ? 0 : as_long(&most);
  long result = system_call(SYS_futex, as_long(word), FUTEX_WAIT_PRIVATE, long(value), limit);
  // Under a filter that refuses futex the caller spins; let others run meanwhile.
  if (failed(result)) system_call(SYS_sched_yield);
}
void os_wake_one(const void* word) { system_call(SYS_futex, as_long(word), FUTEX_WAKE_PRIVATE, 1); }

static constinit Atomic<int> first_process{0};
bool os_is_first_process() { return first_process.load_relaxed() == os_process_id(); }

static constinit char program_name[32] = "";
const char* os_program_name() { return program_name; }

void os_note_start(const char* path) {
  const char* name = path != nullptr ? path : "";
  for (const char* c = name; *c != 0; c++)
    if (c[0] == '/' && c[1] != 0) name = c + 1;
  for (size_t i = 0; i + 1 < sizeof program_name && name[i] != 0; i++) program_name[i] = name[i];
  first_process.store_relaxed(os_process_id());
  stderr_is_ours.store_relaxed(!failed(system_call(SYS_fcntl, STDERR_FILENO, F_GETFD)));
}

void os_keep_stderr() {
  // Out of the way of the numbers that programs use themselves.
  constexpr int kLeast = 100;
  struct stat status;
  long descriptor = system_call(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC, kLeast);
  if (failed(descriptor) || !stat_descriptor(int(descriptor), &status)) return;
  kept_stderr = KeptStderr{int(descriptor), status.st_dev, status.st_ino};
}

void os_random(uint64_t words[2]) {
  unsigned long bytes = getauxval(AT_RANDOM);
  words[0] = os_clock_ms();
  words[1] = address_of(words);
  if (bytes != 0) memcpy(words, pointer_to<void>(bytes), 2 * sizeof(uint64_t));
}

void os_write(const char* text, size_t length) {
  if (!stderr_is_ours.load_relaxed()) return;
  int descriptor = message_descriptor();
  while (length != 0) {
    long written = system_call(SYS_write, descriptor, as_long(text), long(length));
    if (written <= 0) return;
    text += written;
    length -= size_t(written);
  }
}

static SignalMask block_signals(bool is_needed) {
  if (kCheckLevel > 0) signals_blocked++;
  SignalMask mask{false, 0};
  uint64_t all = ~uint64_t{0};
  // Where it is refused there is nothing to restore.
  mask.is_blocked = is_needed && !failed(system_call(SYS_rt_sigprocmask, SIG_SETMASK, as_long(&all),
                                                     as_long(&mask.before), sizeof all));
  return mask;
}

SignalMask os_signals_block() {
  os_copy_expect();
  return block_signals(os_has_threads());
}
SignalMask os_signals_block_always() { return block_signals(true); }

void os_signals_restore(const SignalMask& mask) {
  if (kCheckLevel > 0) signals_blocked--;
  if (mask.is_blocked) system_call(SYS_rt_sigprocmask, SIG_SETMASK, as_long(&mask.before), 0, sizeof mask.before);
}

bool os_signals_are_blocked() { return signals_blocked != 0; }

void os_streams_lock() {
  if (_IO_list_lock != nullptr) _IO_list_lock();
}

void os_streams_unlock() {
  if (_IO_list_unlock != nullptr) _IO_list_unlock();
}

void os_streams_lock_anew() {
  if (_IO_list_resetlock != nullptr) _IO_list_resetlock();
}

void os_abort() { abort(); }

void check_failed(const char* condition, const char* file, int line) {
  Message message;
  message.text("internal check failed: ").text(condition).text(" at ").text(file).text(":").number(uint64_t(line));
  message.send();
  os_abort();
}

}  // namespace poolalloc
