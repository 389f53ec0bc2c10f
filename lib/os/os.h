// The operating system, as the rest of the library sees it.
//
// Always holds: these are the only system calls of the library; they are issued directly (abort apart),
// so they leave errno alone and cannot be captured by another interposer. A function that fails says so by
// its return value and has changed nothing. All are thread-safe and async-signal-safe.
// Who may use it: the chunk layer and above; `pool` and `base` do not.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

// Since glibc 2.32 (sys/single_threaded.h).
extern "C" __attribute__((weak)) char __libc_single_threaded;

namespace poolalloc {

// Size of the kernel's pages, bytes, read at run time: one binary serves 4, 16 and 64 KiB kernels.
size_t os_page_size();

// Takes `size` bytes of readable, writable, zeroed memory whose start is a multiple of `alignment`
// (a power of two, at least the OS page; `size` a multiple of the OS page). Not resident until
// touched. nullptr when the kernel refuses: out of address space, memory or mappings.
void* os_map(size_t size, size_t alignment);

// Gives [p, p+size) back, address range included. False when the kernel refuses (too many
// mappings); the memory is then still mapped.
bool os_unmap(void* p, size_t size);

// The same for what nobody can use any more: if the kernel refuses, it is asked again when it has taken something else.
void os_discard(void* p, size_t size);

// Gives the memory of [p, p+size) back and keeps the range; it reads as zeros afterwards. False
// when the kernel refuses (locked memory, before Linux 5.18) or is emulated in part: contents are then unchanged.
bool os_purge(void* p, size_t size);

// Faults in [p, p+size), whole OS pages, in one go (Linux 5.14). Only advice: no answer.
void os_populate(void* p, size_t size);

// Makes [p, p+size), whole OS pages from os_map, accessible, and zero if it was not, or inaccessible: then its memory
// goes back, and every access faults, a child's too. False when the kernel refuses (too many mappings).
bool os_protect(void* p, size_t size, bool accessible);

// Whether [p, p+size), fresh from os_map, is locked memory: then the kernel has faulted all of it in already.
bool os_is_locked(void* p, size_t size);

// The same as to make it inaccessible, for memory of any size at the price of a mapping; os_protect makes it accessible
// again. False when the kernel refuses: nothing is changed.
bool os_hide(void* p, size_t size);

// Has /proc/PID/smaps say what [p, p+size), whole mappings or parts of some, is for, where names are wanted and the
// kernel keeps them (Linux 5.17 with CONFIG_ANON_VMA_NAME). Only advice: no answer.
void os_name(void* p, size_t size, const char* name);
// Synchronization: set once at start-up. Not by default: a sandbox may end a process for the system call.
extern constinit Atomic<bool> os_names_wanted;

// Asks the kernel for huge pages in [p, p+size), or for none. Only advice: no answer.
void os_advise_huge(void* p, size_t size, bool wanted);

// Moves [p, p+old_size), part of one mapping, without copying to where the kernel has room for new_size bytes, and
// unmaps what was at p. nullptr when that cannot be done: everything is then as it was.
void* os_move(void* p, size_t old_size, size_t new_size);

// What the aligned four bytes at p are. Never faults, whatever p is. What was never touched reads as zero, and takes no
// memory for being read.
enum class WordState : uint8_t { unreadable, zero, set };
WordState os_word_look(const void* p);

// System calls that the library has made, by kind, but for those that reading files takes.
enum class OsCall : uint8_t { map, unmap, move, advise, protect, wait, other };
inline constexpr unsigned kOsCallKinds = unsigned(OsCall::other) + 1;
// Synchronization: atomic.
extern constinit Atomic<uint64_t> os_calls[kOsCallKinds];
inline uint64_t os_call_count(OsCall kind) { return os_calls[unsigned(kind)].load_relaxed(); }

// Milliseconds of a clock that never goes back; advances in steps of a few.
uint64_t os_clock_ms();
// Since 1970.
uint64_t os_wall_clock_ms();

// Identifies the calling thread among the living ones; never 0.
inline uintptr_t os_thread_id() {
#if defined(__x86_64__)
  uintptr_t self;
  __asm__("mov %%fs:0, %0" : "=r"(self));
  return self;
#else
  return reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
#endif
}
// The number by which the system knows the calling thread, and debuggers name it.
unsigned os_thread_number();
// The same as libc remembers it, without a system call; 0: not known. Where there are threads: before, whoever has put
// himself in the place of libc's function may not be ready.
unsigned os_thread_number_known();
// Identifies the process; changes in the child of a fork.
int os_process_id();
// Of the process that has started this one.
int os_parent_id();
// Called before a thread holds a lock. While there are others, from then on a copy of the process is told, by whatever
// system call it comes about. A copy of a process with one thread finds all whole.
void os_copy_expect();
// Whether this process is such a copy: of its threads it has only one.
bool os_is_unknown_copy();
// It is known now. Its only thread.
void os_copy_note();
// Ends the process at once.
[[noreturn]] void os_exit(int status);
bool os_file_exists(const char* path);
// A new file of so many bytes, kNewFileMost at the most, which the process and others may map; nullptr: there can be
// none, or there is one.
inline constexpr size_t kNewFileMost = 512;
void* os_map_new_file(const char* path, size_t size);
// Writes a file, which takes the place of one that is there already, or is a new one that nobody else may read. False:
// it cannot be; what was there stays.
inline constexpr size_t kFilePathMost = 1024;
// `part`: a path beside it that nobody else uses, for the time until it is whole.
bool os_file_replace(const char* path, const char* part, const char* data, size_t size);
bool os_file_make(const char* path, const char* data, size_t size);
// Whether this is the process that the library was loaded into, not the child of a fork.
bool os_is_first_process();

// Two words that the kernel has drawn at random for this process; always the same ones. libc's secrets are made of
// them.
void os_random(uint64_t words[2]);

// How much memory the system allows this process, bytes: the least memory.max of its cgroup and those above it
// (memory.limit_in_bytes in version 1), else RLIMIT_AS; SIZE_MAX for none.
size_t os_memory_limit();
// RLIMIT_AS alone; SIZE_MAX for none.
size_t os_address_space_limit();

// Largest resident size the process has had, bytes; 0 when unknown.
size_t os_peak_resident();

// Makes every other thread of the process that runs pass a full memory barrier, those that do not run having
// done so when they were taken off their processor. False when the kernel cannot: nothing was done.
bool os_barrier_others();

// Sleeps while the four bytes at `word` hold `value`, for so many milliseconds at most (0: no limit); may wake without
// reason. Wakes one sleeper.
void os_wait(const void* word, uint32_t value, unsigned at_most_ms);
void os_wake_one(const void* word);

// When the program starts: remembers the process, the program's name, and whether stderr is open: later, its number may
// belong to a file of the program's own, and nothing is written then. `path`: how the program was called; nullptr: not
// known.
void os_note_start(const char* path);
// The name, without folders, cut to some characters; "" before.
const char* os_program_name();
// Keeps a stderr of our own, for messages after the program has closed its (many do so at exit).
void os_keep_stderr();
// Writes one whole message to stderr. Lost silently when stderr is not ours to write to.
void os_write(const char* text, size_t length);

// Whether there may be other threads in the process: true from before the second one is created, and always if libc
// does not say.
inline bool os_has_threads() { return &__libc_single_threaded == nullptr || __libc_single_threaded == 0; }

// Between the two no signal handler runs in this thread; unless it is the only one of the process: a sandbox may forbid
// the system call.
struct SignalMask {
  bool is_blocked;
  uint64_t before;
};
SignalMask os_signals_block();
// Also where there is no other thread.
SignalMask os_signals_block_always();
void os_signals_restore(const SignalMask& mask);
// Whether this thread is between the two; for checks only.
bool os_signals_are_blocked();

class SignalsBlocked {
 public:
  SignalsBlocked() : mask_(os_signals_block()) {}
  ~SignalsBlocked() { os_signals_restore(mask_); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  SignalMask mask_;
};

// libc's list of streams. libc's fork takes its lock behind the prepare handlers and makes it anew in the child.
// Whoever holds it may wait for memory, or for one who does. Nothing where libc has no such functions (glibc has).
void os_streams_lock();
void os_streams_unlock();
void os_streams_lock_anew();

[[noreturn]] void os_abort();

}  // namespace poolalloc
