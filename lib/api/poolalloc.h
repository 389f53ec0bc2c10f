/* libpoolalloc: a malloc replacement backed by per-thread pools.
 *
 * Preloaded or linked, the library serves malloc, free and their family (C23 7.24.3, POSIX, glibc) and
 * the C++ operators new and delete; nothing of this header is needed for that. The header gives the
 * pool chain, and what can be asked of the allocator itself.
 *
 * C11 and C++17 or later. Sizes are in bytes. Functions are thread-safe unless they say otherwise.
 */
#ifndef POOLALLOC_H
#define POOLALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "poolalloc_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

#define POOLALLOC_VERSION_MAJOR 0
#define POOLALLOC_VERSION_MINOR 1
#define POOLALLOC_VERSION_PATCH 0

/* --- The pool chain ---------------------------------------------------------------------------------
 *
 * A pool hands out blocks of any size front to back from a buffer. When the buffer is full, a further
 * pool is chained and allocation goes on there. All blocks of a chain are released together. A Pool is
 * a value of yours; it must not be copied or moved once a block has been allocated from it.
 *
 *   alignment   A block of n bytes is aligned for any object of up to n bytes: to the largest power of
 *               two not above n, at most 16 (max_align_t). poolalloc_pool_alloc_aligned takes another.
 *   zero size   counts as 1: the block is distinct from every other.
 *   large       A request above the capacity of the next pool gets a pool of its own size.
 *   growth      Each further pool has twice the capacity of the one before it, its header included at
 *               least 1 KiB and at most 1 MiB (or the first pool's capacity, if that is more).
 *   cost        O(1) amortised, whatever the length of the chain.
 *   memory      Contents are not initialised.
 *
 * Not thread-safe: a chain belongs to whoever uses it. Different chains are independent. */

/* A pool with room for `capacity` bytes, which may be 0. If there is no memory, .p is NULL, errno is
 * ENOMEM, and the first allocation tries again. */
Pool poolalloc_pool_init(size_t capacity);

/* A block of `size` bytes. NULL with errno ENOMEM if there is no memory or the size exceeds
 * PTRDIFF_MAX; the pool is then unchanged. */
void *poolalloc_pool_alloc(Pool *pool, size_t size);

/* The same, aligned to `alignment`, a power of two. NULL with errno EINVAL if it is not one. */
void *poolalloc_pool_alloc_aligned(Pool *pool, size_t size, size_t alignment);

/* Changes the size of `block` from old_size, as it was asked for, to new_size, and returns where it is
 * now: in place when it shrinks, or when it is the last block allocated and the new size fits; else
 * elsewhere in the chain, its contents copied and with the alignment that pool_alloc gives. NULL with errno ENOMEM on failure; the block is then
 * untouched. A NULL block is allocated (old_size is ignored). */
void *poolalloc_pool_realloc(Pool *pool, void *block, size_t old_size, size_t new_size);

/* Makes every pool of the chain empty; their buffers are kept and used again in the same order. All
 * blocks are gone. */
void poolalloc_pool_reset(Pool *pool);

/* Gives every buffer back. All blocks are gone. The pool may be used again, as after pool_init. */
void poolalloc_pool_free(Pool *pool);

#ifndef POOLALLOC_NO_SHORT_NAMES
#define pool_init poolalloc_pool_init
#define pool_alloc poolalloc_pool_alloc
#define pool_alloc_aligned poolalloc_pool_alloc_aligned
#define pool_realloc poolalloc_pool_realloc
#define pool_reset poolalloc_pool_reset
#define pool_free poolalloc_pool_free
#endif

/* --- The allocator ----------------------------------------------------------------------------------- */

/* "MAJOR.MINOR.PATCH" of the library that is loaded. */
const char *poolalloc_version(void);

/* Figures of the whole process. Gathered without stopping other threads: exact when they do not
 * allocate meanwhile, else within what they do. */
typedef struct poolalloc_stats {
  size_t live_bytes;      /* bytes of live blocks, rounded up to what their blocks hold */
  size_t live_blocks;     /* blocks allocated and not freed; freed by another thread and not yet
                             collected by the owner counts as live */
  size_t free_bytes;      /* bytes of free blocks in pools that have live ones */
  size_t retained_bytes;  /* free memory kept for reuse, not given back to the kernel */
  size_t reserved_bytes;  /* address space taken for blocks */
  size_t purged_bytes;    /* given back to the kernel, in all */
  size_t mapped_bytes;    /* of large blocks, of more than 64 KiB or so: whole pages, part of the live bytes */
  size_t mapped_blocks;   /* number of those */
  size_t peak_bytes;      /* most address space that pools and large blocks ever used at one time */
  size_t thread_count;    /* threads that have allocated and still run */
  size_t thread_peak;     /* most of those at one time */
  size_t foreign_frees;   /* pointers handed to free and realloc that may be another allocator's */
  size_t budget_bytes;    /* free memory that may be kept for reuse at this moment; SIZE_MAX: any */
  size_t needed_again_bytes; /* of purged_bytes, what was taken again later */
  size_t misuses;         /* blocks freed twice, pointers that no allocator has returned, free blocks written to */
} poolalloc_stats;

/* Fills *stats; `size` is sizeof(poolalloc_stats) as the caller knows it, and no more is written. */
void poolalloc_stats_get(poolalloc_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif
