// Heaps that the program makes (poolalloc.h), over heap/program_heap.h.
//
// Always holds: what poolalloc.h says; a poolalloc_heap is a ProgramHeap.
// Who may use it: programs, through poolalloc.h.
#define POOLALLOC_NO_SHORT_NAMES
#include <errno.h>
#include <string.h>

#include "api/export.h"
#include "api/malloc_api.h"
#include "api/poolalloc.h"
#include "heap/large.h"
#include "heap/program_heap.h"

namespace poolalloc {
namespace {

ProgramHeap& inside(poolalloc_heap* heap) { return *reinterpret_cast<ProgramHeap*>(heap); }
ProgramHeap& inside(const poolalloc_heap* heap) { return inside(const_cast<poolalloc_heap*>(heap)); }

void* fail(int error) {
  errno = error;
  return nullptr;
}

// What a heap has forgotten, by the start of its extent.
void discard(void* start) {
  if constexpr (kHardened) {
    hardened_discard(start);
  } else {
    large_free(start);
  }
}

struct Visit {
  int (*function)(void* block, size_t size, void* context);
  void* context;
};
bool visit_block(void* context, void* block, size_t size) {
  const Visit& visit = *static_cast<const Visit*>(context);
  return visit.function(block, size, visit.context) != 0;
}
bool visit_large(void* context, void* start, size_t size) {
  if constexpr (kHardened) {
    start = hardened_block_in(start, &size);
    if (start == nullptr) return true;
  }
  return visit_block(context, start, size);
}

}  // namespace
}  // namespace poolalloc

using namespace poolalloc;

POOLALLOC_EXPORT poolalloc_heap* poolalloc_heap_new(const poolalloc_heap_options* options) {
  poolalloc_heap_options known{sizeof known, nullptr, 0};
  if (options != nullptr) {
    if (options->size == 0) return static_cast<poolalloc_heap*>(fail(EINVAL));
    memcpy(&known, options, options->size < sizeof known ? options->size : sizeof known);
  }
  ProgramHeap* heap = program_heap_make(known.name, known.limit != 0 ? known.limit : SIZE_MAX);
  if (heap == nullptr) errno = ENOMEM;
  return reinterpret_cast<poolalloc_heap*>(heap);
}

POOLALLOC_EXPORT void* poolalloc_heap_alloc(poolalloc_heap* heap, size_t size) {
  if (!kHardened && PA_LIKELY(size <= kPoolBlockMax)) {
    void* block = program_alloc(inside(heap), size);
    if (PA_LIKELY(block != nullptr)) return block;
    if (!no_memory_retry(size)) return fail(ENOMEM);
  }
  return api_alloc_in(&inside(heap), kBlockAlignment, size, nullptr);
}

POOLALLOC_EXPORT void* poolalloc_heap_calloc(poolalloc_heap* heap, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return fail(ENOMEM);
  bool zeroed = false;
  void* block = api_alloc_in(&inside(heap), kBlockAlignment, total, &zeroed);
  // The whole block, as calloc does.
  return block == nullptr || zeroed ? block : memset(block, 0, api_good_size(total));
}

POOLALLOC_EXPORT void* poolalloc_heap_aligned_alloc(poolalloc_heap* heap, size_t alignment, size_t size) {
  if (!is_power_of_two(alignment)) return fail(EINVAL);
  return api_alloc_in(&inside(heap), alignment, size, nullptr);
}

POOLALLOC_EXPORT char* poolalloc_heap_strdup(poolalloc_heap* heap, const char* string) {
  const size_t size = strlen(string) + 1;
  void* copy = poolalloc_heap_alloc(heap, size);
  return copy != nullptr ? static_cast<char*>(memcpy(copy, string, size)) : nullptr;
}

POOLALLOC_EXPORT void* poolalloc_heap_realloc(poolalloc_heap* heap, void* block, size_t size) {
  if (block == nullptr) return poolalloc_heap_alloc(heap, size);
  if (size == 0 || api_heap_of(block) == &inside(heap)) return api_realloc(block, size);
  return api_realloc_in(&inside(heap), kBlockAlignment, block, size);
}

POOLALLOC_EXPORT void poolalloc_heap_free(poolalloc_heap* heap, void* block) {
  if constexpr (!kHardened) {
    // As heap_free knows it, for a pool of this heap.
    if (PA_LIKELY(chunk_is_listed(address_of(block)))) {
      BlockPool* pool = descriptor_of(block);
      bool is_its = pool->owner == &inside(heap).heap && block_pool_has(*pool, address_of(block) % kSliceSize);
      if (PA_LIKELY(is_its && !block_is_linked(static_cast<Block*>(block))))
        return program_free(pool, static_cast<Block*>(block));
    }
  }
  api_free(block);
}

POOLALLOC_EXPORT void poolalloc_heap_release_all(poolalloc_heap* heap) {
  program_heap_release_all(inside(heap), discard);
}

POOLALLOC_EXPORT void poolalloc_heap_delete(poolalloc_heap* heap) {
  if (heap == nullptr) return;
  if (inside(heap).pushed.load_relaxed() != 0) {
    Message message;
    message.text("poolalloc_heap_delete(): the heap at ").address(heap).text(" is pushed");
    return misuse_say(message);
  }
  program_heap_delete(inside(heap), discard);
}

POOLALLOC_EXPORT int poolalloc_heap_push(poolalloc_heap* heap) {
  if (program_push(inside(heap))) return 0;
  errno = EAGAIN;
  return -1;
}

POOLALLOC_EXPORT int poolalloc_heap_pop(void) {
  if (program_pop()) return 0;
  errno = EINVAL;
  return -1;
}

POOLALLOC_EXPORT poolalloc_heap* poolalloc_heap_of(const void* block) {
  return reinterpret_cast<poolalloc_heap*>(api_heap_of(block));
}

POOLALLOC_EXPORT const char* poolalloc_heap_name(const poolalloc_heap* heap) { return inside(heap).name; }

POOLALLOC_EXPORT void poolalloc_heap_stats_get(const poolalloc_heap* heap, poolalloc_heap_stats* stats, size_t size) {
  const ProgramFigures figures = program_heap_figures(inside(heap));
  const poolalloc_heap_stats known{figures.bytes, figures.blocks, figures.peak, figures.limit};
  memcpy(stats, &known, size < sizeof known ? size : sizeof known);
}

POOLALLOC_EXPORT int poolalloc_heap_visit(poolalloc_heap* heap, int (*visit)(void*, size_t, void*), void* context) {
  Visit each{visit, context};
  return program_heap_visit(inside(heap), {visit_block, visit_large, &each}) ? 1 : 0;
}
