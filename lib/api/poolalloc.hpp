// libpoolalloc for C++17 and later, header only: pools and heaps as objects, as memory resources of the standard library,
// and as an allocator. Link with -lpoolalloc.
//
//   poolalloc::pool pool;                                 // all blocks go at once; deallocate does nothing
//   std::pmr::vector<int> numbers(&pool);
//
//   poolalloc::heap heap("requests", 64 << 20);           // with a name, and a limit in bytes
//   std::map<int, int, std::less<int>, poolalloc::allocator<std::pair<const int, int>>> map(heap);
//
// What holds for the functions of <poolalloc.h> holds here. Where those return NULL, std::bad_alloc is thrown.
#ifndef POOLALLOC_HPP
#define POOLALLOC_HPP

#if defined(POOLALLOC_NO_SHORT_NAMES)
#include "poolalloc.h"
#else
// The short names are C's; these are in a namespace.
#define POOLALLOC_NO_SHORT_NAMES
#include "poolalloc.h"
#undef POOLALLOC_NO_SHORT_NAMES
#endif

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <limits>
#include <memory_resource>
#include <new>
#include <string_view>

namespace poolalloc {

// A pool chain. Not thread-safe. Blocks are aligned as asked; none is freed before the pool is reset, rewound or gone.
class pool final : public std::pmr::memory_resource {
 public:
  // `capacity`: bytes of the first buffer, taken when the first block is.
  explicit pool(std::size_t capacity = 1024) : chain_(poolalloc_pool_init(0)) { chain_.capacity = capacity; }
  ~pool() override { poolalloc_pool_free(&chain_); }
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;

  // All blocks are gone; buffers are kept, or given back.
  void reset() noexcept { poolalloc_pool_reset(chain()); }
  void release() noexcept { poolalloc_pool_free(chain()); }

  // What is allocated while it lives is gone with it.
  class scope {
   public:
    explicit scope(pool& pool) noexcept : pool_(pool), mark_(poolalloc_pool_mark_get(pool.chain())) {}
    ~scope() { poolalloc_pool_rewind(pool_.chain(), mark_); }
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;

   private:
    pool& pool_;
    poolalloc_pool_mark mark_;
  };

  // Bytes that buffers may take; 0: no limit.
  void limit(std::size_t bytes) noexcept { poolalloc_pool_limit(&chain_, bytes); }
  poolalloc_pool_stats stats() noexcept { return poolalloc_pool_stats_get(chain()); }

  // For the functions of <poolalloc.h>; until the pool itself is used again.
  poolalloc_pool* chain() noexcept {
    if (next_ != 0) current().size = next_ - start_of(current());
    next_ = end_ = 0;
    return &chain_;
  }

 private:
  static std::uintptr_t start_of(const poolalloc_pool& pool) { return reinterpret_cast<std::uintptr_t>(pool.p); }
  poolalloc_pool& current() noexcept { return chain_.current != nullptr ? *chain_.current : chain_; }

  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    // Most blocks fit behind the last one. A block of no bytes takes one, and more than all of them do not fit.
    const std::uintptr_t block = (next_ + alignment - 1) & ~(alignment - 1);
    if (block - 1 < end_ && bytes - 1 < end_ - block) {
      next_ = block + bytes;
      return reinterpret_cast<void*>(block);
    }
    return allocate_from_chain(bytes, alignment);
  }
  // Out of line, so that what is above stays short.
  __attribute__((noinline)) void* allocate_from_chain(std::size_t bytes, std::size_t alignment) {
    void* block = poolalloc_pool_alloc_aligned(chain(), bytes, alignment);
    if (block == nullptr) throw std::bad_alloc();
    // What is left of the pool that blocks come from now.
    const poolalloc_pool& now = current();
    if (now.p != nullptr) {
      next_ = start_of(now) + now.size;
      end_ = start_of(now) + now.capacity;
    }
    return block;
  }
  void do_deallocate(void*, std::size_t, std::size_t) override {}
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  poolalloc_pool chain_;
  // Where the next block is tried, and the end of its buffer; 0: the chain has to be asked. While they are not 0 they say
  // how much of the current pool is handed out, and its size does not.
  std::uintptr_t next_ = 0, end_ = 0;
};

// A heap. Thread-safe. Its blocks may be freed one by one; those that are left go with it.
class heap final : public std::pmr::memory_resource {
 public:
  // `limit`: bytes that blocks may take; 0: no limit.
  explicit heap(const char* name = nullptr, std::size_t limit = 0) {
    const poolalloc_heap_options options{sizeof options, name, limit};
    left_behind().delete_all();
    heap_ = poolalloc_heap_new(&options);
    if (heap_ == nullptr) throw std::bad_alloc();
  }
  // What an exception that is in flight holds may be in the heap: it is deleted when the thread makes its next heap, or ends,
  // and no exception is being handled.
  ~heap() override {
    left_behind().delete_all();
    std::uncaught_exceptions() > exceptions_ ? left_behind().add(heap_) : poolalloc_heap_delete(heap_);
  }
  heap(const heap&) = delete;
  heap& operator=(const heap&) = delete;

  // Frees all blocks.
  void release() noexcept { poolalloc_heap_release_all(heap_); }

  // While it lives, what the thread allocates by malloc and new comes from the heap; also what libraries keep (see
  // poolalloc_heap_push), and what is thrown, which must be gone before the thread makes its next heap.
  class scope {
   public:
    explicit scope(heap& heap) {
      if (poolalloc_heap_push(heap.heap_) != 0) throw std::bad_alloc();
    }
    ~scope() { poolalloc_heap_pop(); }
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;
  };

  poolalloc_heap_stats stats() const noexcept {
    poolalloc_heap_stats stats{};
    poolalloc_heap_stats_get(heap_, &stats, sizeof stats);
    return stats;
  }
  std::string_view name() const noexcept { return poolalloc_heap_name(heap_); }
  // For the functions of <poolalloc.h>.
  poolalloc_heap* get() const noexcept { return heap_; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    void* block = alignment <= alignof(std::max_align_t) ? poolalloc_heap_alloc(heap_, bytes)
                                                         : poolalloc_heap_aligned_alloc(heap_, alignment, bytes);
    if (block == nullptr) throw std::bad_alloc();
    return block;
  }
  void do_deallocate(void* block, std::size_t, std::size_t) override { poolalloc_heap_free(heap_, block); }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  // Heaps that exceptions have left behind in this thread.
  class leftovers {
   public:
    ~leftovers() { delete_all(); }
    void add(poolalloc_heap* heap) {
      // Without room it is lost, which is better than what is in use.
      if (count_ < most) heaps_[count_++] = heap;
    }
    void delete_all() {
      if (count_ == 0 || std::uncaught_exceptions() != 0 || std::current_exception() != nullptr) return;
      while (count_ != 0) poolalloc_heap_delete(heaps_[--count_]);
    }

   private:
    static constexpr std::size_t most = 64;
    poolalloc_heap* heaps_[most];
    std::size_t count_ = 0;
  };
  static leftovers& left_behind() {
    static thread_local leftovers heaps;
    return heaps;
  }

  const int exceptions_ = std::uncaught_exceptions();
  poolalloc_heap* heap_;
};

// An allocator for containers: of a heap, or of malloc.
template <typename T>
class allocator {
 public:
  using value_type = T;

  allocator() noexcept = default;
  allocator(heap& heap) noexcept : heap_(heap.get()) {}
  template <typename U>
  allocator(const allocator<U>& other) noexcept : heap_(other.heap_) {}

  T* allocate(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
    const std::size_t bytes = count * sizeof(T);
    void* block;
    if constexpr (alignof(T) <= alignof(std::max_align_t)) {
      block = heap_ != nullptr ? poolalloc_heap_alloc(heap_, bytes) : std::malloc(bytes);
    } else {
      block = heap_ != nullptr ? poolalloc_heap_aligned_alloc(heap_, alignof(T), bytes)
                               : poolalloc_aligned_realloc(nullptr, alignof(T), bytes);
    }
    if (block == nullptr) throw std::bad_alloc();
    return static_cast<T*>(block);
  }
  void deallocate(T* block, std::size_t) noexcept {
    heap_ != nullptr ? poolalloc_heap_free(heap_, block) : std::free(block);
  }

  template <typename U>
  bool operator==(const allocator<U>& other) const noexcept {
    return heap_ == other.heap_;
  }
  template <typename U>
  bool operator!=(const allocator<U>& other) const noexcept {
    return heap_ != other.heap_;
  }

 private:
  template <typename U>
  friend class allocator;
  poolalloc_heap* heap_ = nullptr;
};

}  // namespace poolalloc

#endif
