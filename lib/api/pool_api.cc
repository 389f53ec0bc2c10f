// The public pool chain (poolalloc.h): lib/pool with buffers from malloc.
//
// Always holds: what poolalloc.h says; lib/pool does the work, this file adds errno.
// Who may use it: programs, through poolalloc.h.
#define POOLALLOC_NO_SHORT_NAMES
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/export.h"
#include "api/malloc_api.h"
#include "api/poolalloc.h"
#include "pool/pool.h"

namespace poolalloc {
namespace {

constexpr PoolSource kMallocSource{[](size_t size) { return api_malloc(size); },
                                   [](void* buffer, size_t) { api_free(buffer); }};

void* no_memory() {
  errno = ENOMEM;
  return nullptr;
}

void* alloc_or_errno(Pool& pool, size_t size, size_t alignment) {
  void* block = pool_alloc(pool, size, alignment, kMallocSource);
  return block != nullptr ? block : no_memory();
}

}  // namespace
}  // namespace poolalloc

using namespace poolalloc;

POOLALLOC_EXPORT poolalloc_pool poolalloc_pool_init(size_t capacity) { return pool_init(capacity, kMallocSource); }

POOLALLOC_EXPORT void* poolalloc_pool_alloc(Pool* pool, size_t size) {
  return alloc_or_errno(*pool, size, pool_natural_alignment(size));
}

POOLALLOC_EXPORT void* poolalloc_pool_alloc_aligned(Pool* pool, size_t size, size_t alignment) {
  if (!is_power_of_two(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  return alloc_or_errno(*pool, size, alignment);
}

POOLALLOC_EXPORT void* poolalloc_pool_realloc(Pool* pool, void* block, size_t old_size, size_t new_size) {
  void* moved = pool_realloc(*pool, block, old_size, new_size, kMallocSource);
  return moved != nullptr ? moved : no_memory();
}

POOLALLOC_EXPORT void* poolalloc_pool_alloc_zeroed(Pool* pool, size_t size) {
  void* block = poolalloc_pool_alloc(pool, size);
  return block != nullptr ? memset(block, 0, size) : nullptr;
}

POOLALLOC_EXPORT char* poolalloc_pool_strdup(Pool* pool, const char* string) {
  const size_t size = strlen(string) + 1;
  void* copy = poolalloc_pool_alloc(pool, size);
  return copy != nullptr ? static_cast<char*>(memcpy(copy, string, size)) : nullptr;
}

POOLALLOC_EXPORT char* poolalloc_pool_vprintf(Pool* pool, const char* format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int length = vsnprintf(nullptr, 0, format, arguments);
  void* text = length >= 0 ? poolalloc_pool_alloc(pool, size_t(length) + 1) : nullptr;
  if (text != nullptr) vsnprintf(static_cast<char*>(text), size_t(length) + 1, format, again);
  va_end(again);
  return static_cast<char*>(text);
}

POOLALLOC_EXPORT char* poolalloc_pool_printf(Pool* pool, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char* text = poolalloc_pool_vprintf(pool, format, arguments);
  va_end(arguments);
  return text;
}

POOLALLOC_EXPORT poolalloc_pool_mark poolalloc_pool_mark_get(Pool* pool) { return pool_mark(*pool); }
POOLALLOC_EXPORT void poolalloc_pool_rewind(Pool* pool, poolalloc_pool_mark mark) { pool_rewind(*pool, mark); }
POOLALLOC_EXPORT void poolalloc_pool_limit(Pool* pool, size_t limit) { pool->limit = limit; }

POOLALLOC_EXPORT poolalloc_pool_stats poolalloc_pool_stats_get(const Pool* pool) {
  return {pool_used(*pool), pool->taken, pool->limit};
}

POOLALLOC_EXPORT void poolalloc_pool_reset(Pool* pool) { pool_reset(*pool); }
POOLALLOC_EXPORT void poolalloc_pool_free(Pool* pool) { pool_free(*pool, kMallocSource); }
