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

// Takes a run off its list, of which there is one.
BlockPool* run_pop(Spares& spares, unsigned count) {
  const unsigned i = count - 1;
  BlockPool* run = spares.first[i];
  spares.first[i] = run->next;
  spares.count[i]--;
  spares.slices = uint16_t(spares.slices - count);
  return run;
}

void run_release(Heap& heap, unsigned count) {
  BlockPool* run = run_pop(heap.spares, count);
  heap.released += count * kSliceSize;
  slices_release(run, count);
}

}  // namespace

BlockPool* spares_take(Heap& heap, unsigned count) {
  Spares& spares = heap.spares;
  window_follow(spares);
  const unsigned i = count - 1;
  if (spares.first[i] != nullptr) return run_pop(spares, count);
  if (spares.missing[i] != 0) {
    spares.missing[i]--;
    if (spares.wanted[i] < kSlicesMost) spares.wanted[i]++;
  }
  return nullptr;
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
  const Spares& spares = heap.spares;
  for (unsigned count = Spares::kLengths; count > 0; count--) {
    while (spares.first[count - 1] != nullptr && !spares_fit(spares, heap.slice_count)) run_release(heap, count);
  }
}

bool spares_are_idle(const Heap& heap) {
  const uint64_t now = accounts.retention.window_start.load_relaxed();
  return heap.spares.slices != 0 && now - heap.spares.window >= 2 * uint64_t{kRetentionWindow_ms};
}

bool spares_release(Heap& heap) {
  Spares& spares = heap.spares;
  const bool any = spares.slices != 0;
  for (unsigned count = 1; any && count <= Spares::kLengths; count++) {
    while (spares.first[count - 1] != nullptr) run_release(heap, count);
  }
  spares = Spares{};
  return any;
}

}  // namespace poolalloc
