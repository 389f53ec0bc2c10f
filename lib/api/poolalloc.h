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

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "poolalloc_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

#define POOLALLOC_VERSION_MAJOR 0
#define POOLALLOC_VERSION_MINOR 1
#define POOLALLOC_VERSION_PATCH 0

#if defined(__GNUC__)
#define POOLALLOC_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define POOLALLOC_PRINTF(text, first)
#endif

/* --- The pool chain ---------------------------------------------------------------------------------
 *
 * A pool hands out blocks of any size front to back from a buffer. When the buffer is full, a further
 * pool is chained and allocation goes on there. All blocks of a chain are released together. A
 * poolalloc_pool is a value of yours; it must not be copied or moved once a block has been allocated from it.
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
poolalloc_pool poolalloc_pool_init(size_t capacity);

/* A block of `size` bytes. NULL with errno ENOMEM if there is no memory or the size exceeds
 * PTRDIFF_MAX; the pool is then unchanged. */
void *poolalloc_pool_alloc(poolalloc_pool *pool, size_t size);

/* The same, aligned to `alignment`, a power of two. NULL with errno EINVAL if it is not one. */
void *poolalloc_pool_alloc_aligned(poolalloc_pool *pool, size_t size, size_t alignment);

/* Changes the size of `block` from old_size, as it was asked for, to new_size, and returns where it is
 * now: in place when it shrinks, or when it is the last block allocated and the new size fits; else
 * elsewhere in the chain, its contents copied and with the alignment that pool_alloc gives. NULL with errno ENOMEM on failure; the block is then
 * untouched. A NULL block is allocated (old_size is ignored). */
void *poolalloc_pool_realloc(poolalloc_pool *pool, void *block, size_t old_size, size_t new_size);

/* As pool_alloc, and the block is zero; a copy of a string; and what printf would print. For printf also NULL where
 * vsnprintf fails, with its errno. */
void *poolalloc_pool_alloc_zeroed(poolalloc_pool *pool, size_t size);
char *poolalloc_pool_strdup(poolalloc_pool *pool, const char *string);
char *poolalloc_pool_printf(poolalloc_pool *pool, const char *format, ...) POOLALLOC_PRINTF(2, 3);
char *poolalloc_pool_vprintf(poolalloc_pool *pool, const char *format, va_list arguments) POOLALLOC_PRINTF(2, 0);

/* How far the chain is used; and back to there: blocks allocated since are gone, their buffers are kept. A rewind makes
 * marks taken since void, pool_reset and pool_free make all; blocks from before the mark must not have changed their size since. O(1),
 * amortised. */
poolalloc_pool_mark poolalloc_pool_mark_get(poolalloc_pool *pool);
void poolalloc_pool_rewind(poolalloc_pool *pool, poolalloc_pool_mark mark);

/* What the chain's buffers may take, in bytes; 0: no limit. Above it allocation fails with ENOMEM. What they have taken
 * already stays. */
void poolalloc_pool_limit(poolalloc_pool *pool, size_t limit);

typedef struct poolalloc_pool_stats {
  size_t used_bytes;  /* of blocks, gaps for alignment included */
  size_t taken_bytes; /* of buffers */
  size_t limit_bytes; /* of buffers at the most; 0: no limit */
} poolalloc_pool_stats;

/* O(1). */
poolalloc_pool_stats poolalloc_pool_stats_get(const poolalloc_pool *pool);

/* Makes every pool of the chain empty; their buffers are kept and used again in the same order. All
 * blocks are gone. */
void poolalloc_pool_reset(poolalloc_pool *pool);

/* Gives every buffer back. All blocks are gone. The pool may be used again, as after pool_init. */
void poolalloc_pool_free(poolalloc_pool *pool);

/* The short names. The functions are macros that take arguments, so a variable or a member of the same
 * name stays yours; a function of that name does not, and &poolalloc_pool_alloc is the way to an address. */
#ifndef POOLALLOC_NO_SHORT_NAMES
typedef poolalloc_pool Pool;
#define pool_init(...) poolalloc_pool_init(__VA_ARGS__)
#define pool_alloc(...) poolalloc_pool_alloc(__VA_ARGS__)
#define pool_alloc_aligned(...) poolalloc_pool_alloc_aligned(__VA_ARGS__)
#define pool_realloc(...) poolalloc_pool_realloc(__VA_ARGS__)
#define pool_alloc_zeroed(...) poolalloc_pool_alloc_zeroed(__VA_ARGS__)
#define pool_strdup(...) poolalloc_pool_strdup(__VA_ARGS__)
#define pool_printf(...) poolalloc_pool_printf(__VA_ARGS__)
#define pool_mark_get(...) poolalloc_pool_mark_get(__VA_ARGS__)
#define pool_rewind(...) poolalloc_pool_rewind(__VA_ARGS__)
#define pool_limit(...) poolalloc_pool_limit(__VA_ARGS__)
#define pool_stats_get(...) poolalloc_pool_stats_get(__VA_ARGS__)
#define pool_reset(...) poolalloc_pool_reset(__VA_ARGS__)
#define pool_free(...) poolalloc_pool_free(__VA_ARGS__)
#endif

/* --- Heaps -----------------------------------------------------------------------------------------------
 *
 * A heap of your own, beside those that threads have: with a name, a limit and figures of its own, and all of
 * its blocks can go at once, whoever allocated them. Every thread may use a heap, at the same time as others; a
 * heap has one lock. Its blocks are like those of malloc: free and realloc work on them, in every thread.
 *
 * In the child of a fork a heap is as it was, but in rare cases where another thread was changing it for a second or more:
 * then blocks come from the thread's own heap, and only free gives them back.
 *
 * Functions that allocate return NULL with errno ENOMEM where there is no memory, or the heap's limit is
 * reached; nothing has changed then. Blocks are aligned as those of malloc. */

typedef struct poolalloc_heap poolalloc_heap;

typedef struct poolalloc_heap_options {
  size_t size;      /* sizeof(poolalloc_heap_options) as the caller knows it */
  const char *name; /* copied, up to 31 bytes of it; NULL: "" */
  size_t limit;     /* bytes that blocks may take, rounded up to what their blocks hold; 0: no limit */
} poolalloc_heap_options;

/* A heap without blocks. NULL options: no name, no limit. NULL with errno ENOMEM, or EINVAL if options->size
 * is 0. */
poolalloc_heap *poolalloc_heap_new(const poolalloc_heap_options *options);

/* As malloc, calloc, aligned_alloc (EINVAL if alignment is no power of two) and strdup. */
void *poolalloc_heap_alloc(poolalloc_heap *heap, size_t size);
void *poolalloc_heap_calloc(poolalloc_heap *heap, size_t count, size_t size);
void *poolalloc_heap_aligned_alloc(poolalloc_heap *heap, size_t alignment, size_t size);
char *poolalloc_heap_strdup(poolalloc_heap *heap, const char *string);

/* As realloc; what is not of this heap moves to it. (Plain realloc keeps a block in its heap.) */
void *poolalloc_heap_realloc(poolalloc_heap *heap, void *block, size_t size);

/* free, a little faster, for who knows that the block is of this heap; right for any other block, too, and NULL. */
void poolalloc_heap_free(poolalloc_heap *heap, void *block);

/* Frees all blocks of the heap. No other thread may use the heap meanwhile. */
void poolalloc_heap_release_all(poolalloc_heap *heap);

/* The same, and the heap is gone. NULL is allowed. A heap that a thread has pushed is not deleted: that is
 * reported as misuse. */
void poolalloc_heap_delete(poolalloc_heap *heap);

/* From here on malloc and its relatives, and C++'s operator new, of the calling thread take from the heap, until
 * the matching pop: also for what libraries keep, and that goes with the heap, too. Let them have what they keep before:
 * libc allocates a stream's buffer when it is first used, and C++ what it throws. A push does not change where realloc
 * leaves a block: it keeps it in the heap that it is in. Pushes nest, eight deep. 0, or -1 with errno
 * EAGAIN: too deep, or the thread is ending. pop: 0, or -1 with errno EINVAL: nothing is pushed. */
int poolalloc_heap_push(poolalloc_heap *heap);
int poolalloc_heap_pop(void);

/* The heap that a block in use is in; NULL: a thread's. Undefined for what is no block. */
poolalloc_heap *poolalloc_heap_of(const void *block);

/* The heap's name, "" if it has none; as long as the heap is there. */
const char *poolalloc_heap_name(const poolalloc_heap *heap);

typedef struct poolalloc_heap_stats {
  size_t live_bytes;  /* of blocks in use, rounded up to what their blocks hold */
  size_t live_blocks; /* number of those */
  size_t peak_bytes;  /* most live bytes since the heap was made */
  size_t limit_bytes; /* SIZE_MAX: none */
} poolalloc_heap_stats;

/* Fills *stats; `size` is sizeof(poolalloc_heap_stats) as the caller knows it, and no more is written. Exact. */
void poolalloc_heap_stats_get(const poolalloc_heap *heap, poolalloc_heap_stats *stats, size_t size);

/* Calls visit(block, size, context) for each block in use until it returns 0; `size` is what malloc_usable_size
 * says. Returns 0 if it did, else 1. No other thread can use the heap meanwhile. visit must not use it either, which is
 * reported as misuse, nor another heap of these; malloc and free it may, and what it frees must not be of the heap. */
int poolalloc_heap_visit(poolalloc_heap *heap, int (*visit)(void *block, size_t size, void *context), void *context);

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

/* Calls write(text, length, context) with the parts of a JSON object, in their order: all that is known of the process,
 * by size class and by heap (`poolalloc help statistics` lists every key). Gathered as poolalloc_stats_get does; allocates nothing.
 * `write` may allocate and free. */
void poolalloc_stats_json(void (*write)(const char *text, size_t length, void *context), void *context);

typedef struct poolalloc_area {
  void *start;
  size_t size;          /* bytes */
  size_t block_size;    /* bytes of each block */
  size_t block_count;   /* blocks that it has room for */
  poolalloc_heap *heap; /* that it belongs to; NULL: a thread's */
} poolalloc_area;

/* All memory that blocks are in: calls visit(area, NULL, 0, context) for each pool, each large block and each guarded one, and then
 * visit(area, block, is_live, context) for each of its blocks, free ones too, until it returns 0. Returns 0 if it did, else
 * 1. visit may allocate and free. Exact for what no other thread allocates or frees meanwhile; a block that another
 * thread has freed counts as live until its heap has taken it in. Of the hardened library's large blocks the area begins and
 * ends with inaccessible pages. */
int poolalloc_visit(int (*visit)(const poolalloc_area *area, void *block, int is_live, void *context), void *context);

/* What malloc_usable_size says of a block of `size` bytes: asking for as much costs no more memory. */
size_t poolalloc_good_size(size_t size);

/* Changes the size of a block where it is; returns it, or NULL if it would have to move: the block is then as it was, and
 * so is errno. Undefined for what is no block. */
void *poolalloc_expand(void *block, size_t size);

/* realloc of a block that came from calloc or recalloc and has not been given to realloc: what it grows by is zero. */
void *poolalloc_recalloc(void *block, size_t count, size_t size);

/* realloc to an address that is a multiple of `alignment`, a power of two (else NULL with errno EINVAL). */
void *poolalloc_aligned_realloc(void *block, size_t alignment, size_t size);

/* Gives free memory back to the kernel now, as malloc_trim(0), also what sleeping threads hold; how many bytes. */
size_t poolalloc_trim(void);

/* An option by its name, which is that of its environment variable in lower case and without POOLALLOC_, as in
 * "purge_floor". set: 0, or -1 with errno ENOENT (no such option), EINVAL (no such value) or EPERM (it can be set only in
 * the environment). get: writes what the option was set to, its first 31 characters, cut to `size` bytes with the 0, and returns
 * how many there are, or -1 with errno ENOENT. set is not thread-safe towards other calls of the two. */
int poolalloc_option_set(const char *name, const char *value);
int poolalloc_option_get(const char *name, char *value, size_t size);

/* --- A profile of the heap -----------------------------------------------------------------------------------
 *
 * Which calls have allocated how much, and how much of that is in use, from a sample of the blocks: one in about `mean`
 * bytes, whatever their sizes. POOLALLOC_PROFILE does the same without a change to the program. */

/* Begins: 0, or -1 with errno EINVAL (mean is 0), ENOMEM, or ENOTSUP (the hardened library). mean 1 makes every block a
 * sample; 512 KiB costs next to nothing. While a profile goes on it is continued, with the new mean; one that was stopped
 * begins anew. stop: no further samples; what is freed is noticed still. */
int poolalloc_profile_start(size_t mean);
void poolalloc_profile_stop(void);

/* Writes what is known as a file that pprof reads (and `poolalloc profile`): 0, or -1 with errno EINVAL (there has been no
 * profile), ENOMEM or EIO (path cannot be written; a file that is there already stays as it is). */
int poolalloc_profile_write(const char *path);

/* From here on messages go to `handler`, one line each, without a newline, instead of stderr; NULL: to stderr again. The
 * handler may be called in any thread, also while another one runs it, in a forked child, and before abort; it may
 * allocate. Set it before there are other threads. */
void poolalloc_on_message(void (*handler)(const char *line, size_t length, void *context), void *context);

/* `handler` is called when malloc or a relative is about to fail for want of memory: if it returns anything but 0, the
 * call tries again. It may free and allocate. Not for sizes above PTRDIFF_MAX. NULL: none. Set it before there are
 * other threads. */
void poolalloc_on_no_memory(int (*handler)(size_t size, void *context), void *context);

#ifdef __cplusplus
}
#endif

#endif
