// The malloc family's laws: arguments, errno, zero sizes, overflow.
//
// Always holds (C23 7.24.3, POSIX, malloc(3)): a failing call returns nullptr with errno ENOMEM, or
// EINVAL for bad arguments, and leaves old data untouched; a zero size gives a distinct block that can
// be freed, except in realloc of a block, which it frees; every block is 16-aligned; free and its relatives keep errno;
// nothing throws. Thread-safe, all of them. Who may use it: interpose, the pool API and tests.
#pragma once

#include "base/policy.h"
#include "hardened/hardened.h"
#include "heap/fast.h"

namespace poolalloc {

void* malloc_slow(size_t size);

// malloc for a maker, which the hardened library remembers; and free for a caller.
void* malloc_hardened(size_t size, Maker maker);
void* realloc_hardened(void* p, size_t size);
bool find_hardened(void* p, size_t* size);
PA_INLINE void* malloc_for(Maker maker, size_t size) {
  if constexpr (kHardened) return malloc_hardened(size, maker);
  void* block = heap_malloc(size);
  return PA_LIKELY(block != nullptr) ? block : malloc_slow(size);
}
PA_INLINE void free_for(Caller caller, void* p, size_t said_size = kUnsaid) {
  if constexpr (kHardened) return hardened_free(p, caller, said_size);
  heap_free(p, caller);
}

// A block of a program's heap, or of the thread's own (nullptr), `alignment` a power of two. If `zeroed` is given, the
// caller wants zeros; it is set to whether the block is known to be zero.
struct ProgramHeap;
void* api_alloc_in(ProgramHeap* heap, size_t alignment, size_t size, bool* zeroed);
// Moves a block to such a place. EINVAL: it is none.
void* api_realloc_in(ProgramHeap* heap, size_t alignment, void* p, size_t size);
// The program's heap that a block is in; nullptr: a thread's, or it is no block.
ProgramHeap* api_heap_of(const void* p);

// C23 7.24.3.6, 7.24.3.3.
PA_INLINE void* api_malloc(size_t size) { return malloc_for(Maker::malloc, size); }
PA_INLINE void api_free(void* p) { free_for(Caller::free, p); }

// C23 7.24.3.2: the product of both is checked; the block is zero.
void* api_calloc(size_t count, size_t size);
// C23 7.24.3.7, and as glibc: realloc(p, 0) frees p and returns nullptr, realloc(nullptr, n) is malloc.
void* api_realloc(void* p, size_t size);

// memalign(3): an alignment that is no power of two is rounded up to one; EINVAL if there is none.
void* api_memalign(size_t alignment, size_t size);
void* memalign_for(Maker maker, size_t alignment, size_t size);
// C23 7.24.3.1: EINVAL if the alignment is no power of two; any size will do.
void* api_aligned_alloc(size_t alignment, size_t size);
// POSIX posix_memalign: returns 0, EINVAL (alignment no power of two times sizeof(void*)) or ENOMEM;
// leaves *result alone on failure, and errno but for ENOMEM, as glibc does.
int api_posix_memalign(void** result, size_t alignment, size_t size);
// valloc(3): page-aligned; pvalloc(3): and the size rounded up to pages.
void* api_valloc(size_t size);
void* api_pvalloc(size_t size);

// What api_usable_size says of a block of `size` bytes.
size_t api_good_size(size_t size);
// Changes a block's size where it is; false: it would have to move.
bool api_expand(void* p, size_t size);

// Who is asked when there is no memory. Synchronization: `context` is written before `function`, with release.
struct NoMemoryHandler {
  Atomic<int (*)(size_t size, void* context)> function;  // nullptr: nobody
  Atomic<void*> context;
};
extern constinit NoMemoryHandler no_memory_handler;
// What the program gave with its handler of messages.
void* message_context();
// Whether a call for so many bytes that has failed is to be tried again.
bool no_memory_retry(size_t size);

// Whether p, which is not nullptr, is a block in use, and how many of its bytes may be used: none of a block of no
// bytes. Where it is no block, that is said.
bool api_find(const void* p, size_t* size);
// malloc_usable_size(3): bytes of the block that may all be used; 0 for nullptr and foreign pointers.
size_t api_usable_size(const void* p);

// C23 7.24.3.4 and 7.24.3.5: the sizes are hints, wrong ones are harmless but in the hardened library.
PA_INLINE void api_free_sized(void* p, size_t size) { free_for(Caller::free_sized, p, size); }
PA_INLINE void api_free_aligned_sized(void* p, size_t, size_t size) { free_for(Caller::free_aligned_sized, p, size); }
// [new.delete], every form.
PA_INLINE void api_delete(void* p) { free_for(Caller::delete_one, p); }
PA_INLINE void api_delete_array(void* p) { free_for(Caller::delete_array, p); }
PA_INLINE void api_delete_sized(void* p, size_t size) { free_for(Caller::delete_one, p, size); }
PA_INLINE void api_delete_array_sized(void* p, size_t size) { free_for(Caller::delete_array, p, size); }

}  // namespace poolalloc
