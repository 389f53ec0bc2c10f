// Disorder for tests: in the build with -Dchaos=true threads lose their processor at every atomic operation, fence and
// compiler barrier, at random, and what takes a second elsewhere happens every few milliseconds.
//
// Always holds: in every other build the functions here are empty, and lengths of time are as they are written first.
// Who may use it: everybody.
#pragma once

#include <stdint.h>

namespace poolalloc {

// What a test under chaos must have met. Each stands where it is noted.
enum class ChaosEvent : unsigned {
  evicted,          // a pool taken from its owner
  seized_returned,  // a list put back in force
  seized_found,     // a list whose blocks had got back by themselves
  batch_taken,      // a batch sent by another thread than its owner
  batches_back,     // seized batches that their owner took back
  pool_vacated,     // a pool released by a sender
  mail_put_back,    // messages of one pool that a sender had to leave
  orphan_drained,   // mail taken in for a heap without a thread
  orphan_settled,   // a heap without a thread trimmed in a sweep
  orphan_adopted,
  late_trap,  // an owner that found its empty pool evicted
  hole_made,
  hole_filled,
  count,
};

#if defined(POOLALLOC_CHAOS)

inline constexpr bool kChaos = true;
inline uint64_t chaos_counts[unsigned(ChaosEvent::count)];
inline __thread uint64_t chaos_state;

inline void chaos_note(ChaosEvent event) { __atomic_fetch_add(&chaos_counts[unsigned(event)], 1, __ATOMIC_RELAXED); }

// Defined in the os layer. Gives the processor away, for up to 33 ms, mostly for much less.
void chaos_sleep(uint64_t random);
void chaos_yield();
// A first state for the calling thread; not 0.
uint64_t chaos_seed();
// One line for each event with its count, on stderr.
void chaos_report();

// xorshift.
inline uint64_t chaos_random() {
  uint64_t x = chaos_state != 0 ? chaos_state : chaos_seed();
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return chaos_state = x;
}

// Stops a thread once in so many times, for a while or just for another's turn.
inline void chaos_stop(uint64_t one_in) {
  uint64_t x = chaos_random();
  if (__builtin_expect((x & 0x3ff) % (one_in / 16 + 1) == 0, 0)) chaos_yield();
  if (__builtin_expect((x >> 10 & 0xffff) % one_in == 0, 0)) chaos_sleep(x >> 35);
}
// Anywhere.
inline void chaos_point() { chaos_stop(1 << 15); }
// In the middle of a fast path.
inline void chaos_middle() { chaos_stop(1 << 11); }
// Between two steps in a slow path that hurt when something comes between them.
inline void chaos_gap() { chaos_stop(2); }

#else

inline constexpr bool kChaos = false;
inline void chaos_note(ChaosEvent) {}
inline void chaos_report() {}
inline void chaos_point() {}
inline void chaos_middle() {}
inline void chaos_gap() {}

#endif

// A length of time, or a number of things to wait for.
template <typename T>
constexpr T short_if_chaos(T usual, T in_chaos) {
  return kChaos ? in_chaos : usual;
}

}  // namespace poolalloc
