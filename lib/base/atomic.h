// Atomic words whose operations carry their memory order in the name.
//
// Always holds: every operation on an Atomic is one of the names below, so that each use that
// orders memory can be found by searching for its name; trivially constructible, so globals are
// `constinit`.
// Who may use it: everybody. Whoever uses an order stronger than relaxed says in a comment what it
// publishes and to whom.
#pragma once

#include <stdint.h>

#include "base/chaos.h"

namespace poolalloc {

// In the build with all checks: how many read-modify-write operations and full fences, which are what
// threads cost each other, this thread has executed.
#if POOLALLOC_CHECKS >= 2
inline __thread uint64_t atomic_operations;
inline void atomic_operation_count() { atomic_operations++; }
#else
inline void atomic_operation_count() {}
#endif
inline void atomic_operation_note() {
  atomic_operation_count();
  chaos_point();
}

template <typename T>
struct Atomic {
  T value;

  T load_relaxed() const { return load<__ATOMIC_RELAXED>(); }
  T load_acquire() const { return load<__ATOMIC_ACQUIRE>(); }
  T load_seq_cst() const { return load<__ATOMIC_SEQ_CST>(); }
  void store_relaxed(T v) { store<__ATOMIC_RELAXED>(v); }
  void store_release(T v) { store<__ATOMIC_RELEASE>(v); }
  T exchange_acquire(T v) { return exchange<__ATOMIC_ACQUIRE>(v); }
  T exchange_release(T v) { return exchange<__ATOMIC_RELEASE>(v); }

  bool cas_weak_relaxed(T& expected, T desired) { return cas<true, __ATOMIC_RELAXED>(expected, desired); }
  bool cas_weak_acquire(T& expected, T desired) { return cas<true, __ATOMIC_ACQUIRE>(expected, desired); }
  bool cas_weak_release(T& expected, T desired) { return cas<true, __ATOMIC_RELEASE>(expected, desired); }
  bool cas_weak_acq_rel(T& expected, T desired) { return cas<true, __ATOMIC_ACQ_REL>(expected, desired); }
  bool cas_acquire(T expected, T desired) { return cas<false, __ATOMIC_ACQUIRE>(expected, desired); }

  T add_relaxed(T v) { return noted(), __atomic_fetch_add(&value, v, __ATOMIC_RELAXED); }
  T sub_relaxed(T v) { return noted(), __atomic_fetch_sub(&value, v, __ATOMIC_RELAXED); }
  T or_relaxed(T v) { return noted(), __atomic_fetch_or(&value, v, __ATOMIC_RELAXED); }
  T and_relaxed(T v) { return noted(), __atomic_fetch_and(&value, v, __ATOMIC_RELAXED); }
  T or_release(T v) { return noted(), __atomic_fetch_or(&value, v, __ATOMIC_RELEASE); }
  T or_seq_cst(T v) { return noted(), __atomic_fetch_or(&value, v, __ATOMIC_SEQ_CST); }
  T and_seq_cst(T v) { return noted(), __atomic_fetch_and(&value, v, __ATOMIC_SEQ_CST); }

 private:
  template <int order>
  T load() const {
    chaos_point();
    T result;
    __atomic_load(&value, &result, order);
    return result;
  }
  template <int order>
  void store(T v) {
    chaos_point();
    __atomic_store(&value, &v, order);
  }
  static void noted() { atomic_operation_note(); }
  template <int order>
  T exchange(T v) {
    noted();
    T result;
    __atomic_exchange(&value, &v, &result, order);
    return result;
  }
  template <bool weak, int order>
  bool cas(T& expected, T desired) {
    noted();
    constexpr int failure = order == __ATOMIC_RELEASE   ? __ATOMIC_RELAXED
                            : order == __ATOMIC_ACQ_REL ? __ATOMIC_ACQUIRE
                                                        : order;
    return __atomic_compare_exchange(&value, &expected, &desired, weak, order, failure);
  }
};

// Whether two neighbouring words, aligned to 16 bytes, are these at one instant. Writes what is there already.
inline bool atomic_pair_is(void* pair, uint64_t first, uint64_t second) {
  atomic_operation_note();
#if defined(__x86_64__)
  uint64_t low = first;
  uint64_t high = second;
  bool is_same;
  __asm__ __volatile__("lock cmpxchg16b (%3)"
                       : "=@ccz"(is_same), "+a"(low), "+d"(high)
                       : "r"(pair), "b"(first), "c"(second)
                       : "memory");
  return is_same;
#elif defined(__aarch64__)
  uint64_t low;
  uint64_t high;
  uint32_t interrupted;
  do {
    __asm__ __volatile__("ldaxp %0, %1, [%3]\n\tstxp %w2, %0, %1, [%3]"
                         : "=&r"(low), "=&r"(high), "=&r"(interrupted)
                         : "r"(pair)
                         : "memory");
    if (low != first || high != second) return false;
  } while (interrupted != 0);
  return true;
#endif
}

// Orders this thread's earlier writes before its later reads, as seen by every other thread that
// does the same between its own.
inline void fence_seq_cst() {
  atomic_operation_note();
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

// Keeps the compiler (not the processor) from moving memory accesses across it.
inline void compiler_barrier() {
  __asm__ __volatile__("" ::: "memory");
  chaos_point();
}

// Tells the processor that this is a spin loop.
inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

}  // namespace poolalloc
