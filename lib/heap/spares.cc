// Spares (spares.h).
//
// Who may use it: through spares.h.
#include "heap/spares.h"

#include "chunk/accounts.h"
#include "heap/heap.h"

namespace poolalloc {
namespace {

// Of all spares of a heap.
constexpr unsigned kSlicesMost = 16;

// In a new window nothing is known to be needed again; what is kept stays until somebody looks.
void window_follow(Spares& spares) {
  const uint64_t window = accounts.retention.window_start.load_relaxed();
  if (PA_LIKELY(window == spares.window)) return;
  spares.window = window;
  for (unsigned i = 0; i < Spares::kLengths; i++) {
    spares.wanted[i] /= 2;
    spares.missing[i] = 0;
  }
}

}  // namespace

BlockPool* spares_take(Heap& heap, unsigned count) {
  Spares& spares = heap.spares;
  window_follow(spares);
  const unsigned i = count - 1;
  BlockPool* run = spares.first[i];
  if (run != nullptr) {
    spares.first[i] = run->next;
    spares.count[i]--;
    spares.slices = uint16_t(spares.slices - count);
  } else if (spares.missing[i] != 0) {
    spares.missing[i]--;
    if (spares.wanted[i] < kSlicesMost) spares.wanted[i]++;
  }
  return run;
}

bool spares_keep(Heap& heap, BlockPool* run, unsigned count) {
  Spares& spares = heap.spares;
  window_follow(spares);
  const unsigned i = count - 1;
  const unsigned slices = spares.slices + count;
  const bool has_room = slices <= kSlicesMost && slices * kSparesShare <= heap.slice_count &&
                        int64_t(slices * kSliceSize) <= budget_now(accounts.retention);
  const bool is_used = heap.gate->state.load_relaxed() == HeapState::owned;
  if (spares.count[i] >= spares.wanted[i] || !has_room || !is_used) {
    if (spares.missing[i] < UINT8_MAX) spares.missing[i]++;
    return false;
  }
  slices_reset(run, count);
  run->next = spares.first[i];
  spares.first[i] = run;
  spares.count[i]++;
  spares.slices = uint16_t(slices);
  return true;
}

PA_COLD void spares_shrink(Heap& heap) {
  Spares& spares = heap.spares;
  for (unsigned i = Spares::kLengths; i-- > 0;) {
    while (spares.first[i] != nullptr && !spares_fit(spares, heap.slice_count)) {
      BlockPool* run = spares.first[i];
      spares.first[i] = run->next;
      spares.count[i]--;
      spares.slices = uint16_t(spares.slices - (i + 1));
      heap.released += (i + 1) * kSliceSize;
      slices_release(run, i + 1);
    }
  }
}

bool spares_are_idle(const Heap& heap) {
  const uint64_t now = accounts.retention.window_start.load_relaxed();
  return heap.spares.slices != 0 && now - heap.spares.window >= 2 * uint64_t{kRetentionWindow_ms};
}

bool spares_release(Heap& heap) {
  Spares& spares = heap.spares;
  const bool any = spares.slices != 0;
  for (unsigned i = 0; any && i < Spares::kLengths; i++) {
    BlockPool* next;
    for (BlockPool* run = spares.first[i]; run != nullptr; run = next) {
      next = run->next;
      heap.released += (i + 1) * kSliceSize;
      slices_release(run, i + 1);
    }
  }
  spares = Spares{};
  return any;
}

}  // namespace poolalloc
