// The malloc family's laws (malloc_api.h).
//
// Always holds: sizes are checked before they are added or multiplied.
// Who may use it: through malloc_api.h.
#include "api/malloc_api.h"

#include <errno.h>
#include <string.h>

#include "heap/evict.h"
#include "heap/find.h"
#include "heap/guard.h"
#include "heap/large.h"
#include "heap/next_allocator.h"
#include "heap/profiled.h"
#include "heap/program_heap.h"
#include "os/os.h"

namespace poolalloc {
namespace {

void* checked(void* block) {
  if (PA_UNLIKELY(block == nullptr)) errno = ENOMEM;
  return block;
}

// The block that alloc() returns, as long as there is none and heaps have spares, or somebody asks for another try;
// nullptr: with errno.
template <typename Alloc>
void* checked_alloc(size_t size, Alloc alloc) {
  void* block = alloc();
  while (PA_UNLIKELY(block == nullptr) && (heap_spares_reclaim() || no_memory_retry(size))) block = alloc();
  return checked(block);
}

// A block with alignment <= 16 of any size; nullptr without errno.
void* alloc_any(size_t size, bool* zeroed) {
  if constexpr (kHardened) {
    if (zeroed != nullptr) *zeroed = true;
    return hardened_alloc(size, kBlockAlignment, Maker::malloc);
  }
  if (size > kPoolBlockMax) return large_alloc(size, kBlockAlignment, zeroed);
  void* block = size <= kSmallMax ? heap_malloc(size) : heap_malloc_medium(size);
  return PA_LIKELY(block != nullptr) ? block : heap_malloc_slow(size);
}

// A request that is a multiple of its alignment gets a block size that is one too (size_class.h): the size to ask for,
// or SIZE_MAX: no pool has such blocks.
size_t aligned_size(size_t alignment, size_t size) {
  if (alignment <= kBlockAlignment) return size <= kPoolBlockMax ? size : SIZE_MAX;
  if (alignment > kSliceSize || size > kPoolBlockMax) return SIZE_MAX;
  size_t rounded = round_up(size != 0 ? size : 1, alignment);
  return rounded <= kPoolBlockMax ? rounded : SIZE_MAX;
}

// alignment is a power of two. nullptr without errno.
void* alloc_aligned(size_t alignment, size_t size, Maker maker = Maker::malloc) {
  if constexpr (kHardened)
    return hardened_alloc(size, alignment > kBlockAlignment ? alignment : kBlockAlignment, maker);
  if (alignment <= kBlockAlignment) return alloc_any(size, nullptr);
  size_t rounded = aligned_size(alignment, size);
  return rounded != SIZE_MAX ? alloc_any(rounded, nullptr) : large_alloc(size, alignment, nullptr);
}

// The same of a certain heap, which the fast path does not know. nullptr without errno.
void* alloc_in(ProgramHeap* heap, size_t alignment, size_t size, bool* zeroed) {
  ProgramScope scope(heap);
  if constexpr (kHardened) {
    if (zeroed != nullptr) *zeroed = true;
    return hardened_alloc(size, alignment > kBlockAlignment ? alignment : kBlockAlignment, Maker::malloc);
  }
  if (zeroed != nullptr) *zeroed = false;
  size_t rounded = aligned_size(alignment, size);
  return rounded != SIZE_MAX ? heap_malloc_slow(rounded) : large_alloc(size, alignment, zeroed);
}

// Whether a block's heap may be one of the program's, or another one than the thread allocates from.
bool may_be_apart(const BlockPool* pool) {
  return program_target != nullptr || (pool != nullptr ? program_of(pool) != nullptr : program_has_large());
}

// Copies to a block of another size and frees the old one. A failed call keeps the old one, and is no
// failure if that is large enough. A block stays in its heap. `pool`: it is of one.
void* move_block(void* p, const BlockPool* pool, size_t old_size, size_t new_size) {
  const bool is_apart = may_be_apart(pool);
  ProgramScope scope(PA_UNLIKELY(is_apart) ? api_heap_of(p) : nullptr);
  // A block that grows is likely to grow again.
  void* moved = new_size > old_size ? large_alloc_growing(new_size, old_size) : nullptr;
  auto alloc = [=] {
    return PA_UNLIKELY(is_apart) ? alloc_in(program_target, kBlockAlignment, new_size, nullptr)
                                 : alloc_any(new_size, nullptr);
  };
  if (moved == nullptr) moved = new_size <= old_size ? alloc() : checked_alloc(new_size, alloc);
  if (moved == nullptr) return new_size <= old_size ? p : nullptr;
  memcpy(moved, p, old_size < new_size ? old_size : new_size);
  heap_free(p, Caller::realloc);
  return moved;
}

// Whether a block of a pool may keep its place when its size changes: what it does not need is at most a fifth of it.
bool keeps_place(const BlockPool& pool, size_t size) {
  size_t block_size = class_size(pool.size_class);
  return size <= block_size && (block_size - size <= block_size / 5 || size_class_of(size) == pool.size_class);
}

// realloc of an address in the guard's region. The block always moves: where it goes it may be sampled again.
PA_COLD void* realloc_guarded(void* p, size_t size) {
  size_t old_size;
  if (!guard_has(p, &old_size)) {
    misuse_guarded(Caller::realloc, p, guard_look(address_of(p)));
    errno = EINVAL;
    return nullptr;
  }
  if (size == 0) {
    heap_free(p, Caller::realloc);
    return nullptr;
  }
  return size > kRequestMax ? checked(nullptr) : move_block(p, nullptr, old_size, size);
}

}  // namespace

void* api_alloc_in(ProgramHeap* heap, size_t alignment, size_t size, bool* zeroed) {
  return checked_alloc(size, [=] { return alloc_in(heap, alignment, size, zeroed); });
}

void* api_realloc_in(ProgramHeap* heap, size_t alignment, void* p, size_t size) {
  size_t old_size;
  if (!api_find(p, &old_size)) {
    errno = EINVAL;
    return nullptr;
  }
  void* moved = api_alloc_in(heap, alignment, size, nullptr);
  if (moved == nullptr) return nullptr;
  memcpy(moved, p, old_size < size ? old_size : size);
  free_for(Caller::realloc, p);
  return moved;
}

ProgramHeap* api_heap_of(const void* p) {
  if (const BlockPool* pool = pool_find(p)) return program_shown(program_of(pool));
  if (!program_has_large()) return nullptr;
  const void* start = kHardened ? extent_start_around(p) : p;
  return program_shown(program_large_holder(start));
}

constinit NoMemoryHandler no_memory_handler{{nullptr}, {nullptr}};

bool no_memory_retry(size_t size) {
  // Acquire: the context.
  auto function = no_memory_handler.function.load_acquire();
  if (function == nullptr || size > kRequestMax) return false;
  // What it keeps is not to go with a heap that a call of this thread is for.
  ProgramScope scope(nullptr);
  return function(size, no_memory_handler.context.load_relaxed()) != 0;
}

size_t api_good_size(size_t size) {
  if (kHardened || size > kRequestMax) return size;
  return size <= kPoolBlockMax ? class_size(size_class_of(size)) : round_up(size, os_page_size());
}

bool api_expand(void* p, size_t size) {
  if constexpr (kHardened) return hardened_expand(p, size);
  if (const BlockPool* pool = pool_find(p)) return size <= class_size(pool->size_class);
  size_t guarded;
  if (guard_owns(p)) return guard_has(p, &guarded) && size <= guarded;
  return size > kPoolBlockMax ? large_expand(p, size) : size <= large_usable_size(p);
}

static PA_NOINLINE void* malloc_hard(size_t size) {
  if (const NextAllocator* next = next_allocator()) return next->malloc(size);
  return checked_alloc(size, [=] {
    return size <= kPoolBlockMax ? heap_malloc_slow(size) : large_alloc(size, kBlockAlignment, nullptr);
  });
}

PA_NOINLINE void* malloc_slow(size_t size) {
  if (PA_LIKELY(size > kSmallMax && size <= kPoolBlockMax)) {
    if (void* block = heap_malloc_medium(size); PA_LIKELY(block != nullptr)) return block;
  }
  return malloc_hard(size);
}

static PA_NOINLINE void* calloc_slow(size_t total) {
  if (const NextAllocator* next = next_allocator()) return next->calloc(1, total);
  bool zeroed = false;
  void* block = checked_alloc(total, [&] { return alloc_any(total, &zeroed); });
  if (zeroed || PA_UNLIKELY(block == nullptr)) return block;
  // The whole block, for recalloc; one of the guard's ends where it was asked to.
  return memset(block, 0, PA_UNLIKELY(guard_owns(block)) ? total : api_good_size(total));
}

void* api_calloc(size_t count, size_t size) {
  size_t total;
  if (PA_UNLIKELY(__builtin_mul_overflow(count, size, &total))) return checked(nullptr);
  void* block = kHardened ? nullptr : heap_malloc(total);
  return PA_LIKELY(block != nullptr) ? memset(block, 0, class_size(size_class_of(total))) : calloc_slow(total);
}

void* api_realloc(void* p, size_t size) {
  if (p == nullptr) return api_malloc(size);
  if constexpr (kHardened) return realloc_hardened(p, size);
  BlockPool* pool = pool_find(p);
  if (PA_UNLIKELY(guard_owns(p))) return realloc_guarded(p, size);
  size_t old_size = pool != nullptr ? class_size(pool->size_class) : large_usable_size(p);
  bool is_free = pool != nullptr && is_double_free(Caller::realloc, pool, p);
  if (PA_UNLIKELY(old_size == 0)) {
    if (const NextAllocator* next = next_allocator()) return next->realloc(p, size);
    misuse_pointer(Caller::realloc, p);
  }
  if (PA_UNLIKELY(old_size == 0 || is_free)) {
    // Its size is unknown and its bytes must stay: all that can be done is to say no.
    errno = EINVAL;
    return nullptr;
  }
  if (PA_UNLIKELY(size == 0)) {
    heap_free(p, Caller::realloc);
    return nullptr;
  }
  if (size > kRequestMax) return checked(nullptr);
  if (pool != nullptr) {
    if (!keeps_place(*pool, size)) return move_block(p, pool, old_size, size);
    if (profile_is_known()) profiled_resized(program_of(pool), p, size);
    return p;
  }
  if (size > kPoolBlockMax) {
    void* resized = large_resize(p, size);
    if (resized != nullptr) return resized;
  }
  return move_block(p, nullptr, old_size, size);
}

void* memalign_for(Maker maker, size_t alignment, size_t size) {
  if (const NextAllocator* next = next_allocator()) return next->memalign(alignment, size);
  if (alignment > (SIZE_MAX >> 1) + 1) {
    errno = EINVAL;
    return nullptr;
  }
  if (!is_power_of_two(alignment)) alignment = alignment == 0 ? 1 : size_t{1} << log2_ceil(alignment);
  return checked_alloc(size, [=] { return alloc_aligned(alignment, size, maker); });
}

void* api_memalign(size_t alignment, size_t size) { return memalign_for(Maker::malloc, alignment, size); }

void* api_aligned_alloc(size_t alignment, size_t size) {
  if (const NextAllocator* next = next_allocator()) return next->aligned_alloc(alignment, size);
  if (is_power_of_two(alignment)) return api_memalign(alignment, size);
  errno = EINVAL;
  return nullptr;
}

int api_posix_memalign(void** result, size_t alignment, size_t size) {
  if (const NextAllocator* next = next_allocator()) return next->posix_memalign(result, alignment, size);
  if (!is_power_of_two(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
  void* block = checked_alloc(size, [=] { return alloc_aligned(alignment, size); });
  if (block == nullptr) return ENOMEM;
  *result = block;
  return 0;
}

void* api_valloc(size_t size) { return api_memalign(os_page_size(), size); }

void* api_pvalloc(size_t size) {
  if (size > kRequestMax) return checked(nullptr);
  return api_memalign(os_page_size(), size == 0 ? os_page_size() : round_up(size, os_page_size()));
}

bool api_find(const void* p, size_t* size) {
  if constexpr (kHardened) return find_hardened(const_cast<void*>(p), size);
  *size = 0;
  if (const BlockPool* pool = pool_find(p)) {
    *size = class_size(pool->size_class);
  } else if (guard_owns(p)) {
    // It may have no bytes.
    if (guard_has(p, size)) return true;
    misuse_guarded(Caller::usable_size, p, guard_look(address_of(p)));
  } else {
    *size = large_usable_size(p);
    if (PA_LIKELY(*size != 0)) return true;
    const NextAllocator* next = next_allocator();
    if (next == nullptr) return misuse_pointer(Caller::usable_size, p), false;
    *size = next->malloc_usable_size(const_cast<void*>(p));
  }
  return *size != 0;
}

size_t api_usable_size(const void* p) {
  size_t size;
  return p != nullptr && api_find(p, &size) ? size : 0;
}

}  // namespace poolalloc
