// The profile of the heap (profile.h).
//
// Who may use it: through profile.h.
#include "inspect/profile.h"

#include <string.h>

#include "base/random.h"
#include "chunk/os_source.h"
#include "os/os.h"
#include "os/place.h"

namespace poolalloc {

constinit Profile profile{};
constinit ProfileTable profile_table{};
constinit Atomic<void (*)()> profile_on_high{nullptr};

namespace {

// Functions of a trace.
constexpr unsigned kFramesMost = 64;
constexpr size_t kStackBuckets = 8192;
constexpr size_t kBlockBucketsLeast = 8192;
static_assert(kStackBuckets * sizeof(void*) % kSliceSize == 0 && kBlockBucketsLeast * sizeof(void*) % kSliceSize == 0,
              "whole pages, however large they are");
// How much more in use makes a peak, and how much is worth to be told.
constexpr double kPeakStep = 1.01, kHighStep = 1.25, kHighLeast = 4 << 20;

// Under profile_lock.
constinit Pool records{};
constinit ProfileStack** stack_buckets = nullptr;
constinit ProfiledBlock* unused_blocks = nullptr;
constinit uint32_t generation = 0;

void* record_make(size_t size) { return pool_alloc(records, size, alignof(uint64_t), kOsSource); }

// Whether there are tables.
bool tables_make() {
  if (stack_buckets != nullptr) return true;
  const size_t stacks_size = kStackBuckets * sizeof(ProfileStack*), blocks_size = kBlockBucketsLeast * sizeof(void*);
  void* stacks = os_map(stacks_size, os_page_size());
  void* blocks = os_map(blocks_size, os_page_size());
  if (stacks == nullptr || blocks == nullptr) {
    if (stacks != nullptr) os_discard(stacks, stacks_size);
    if (blocks != nullptr) os_discard(blocks, blocks_size);
    return false;
  }
  records = pool_without_buffer(kOsSourceCapacity);
  stack_buckets = static_cast<ProfileStack**>(stacks);
  profile_table = {static_cast<ProfiledBlock**>(blocks), kBlockBucketsLeast};
  return true;
}

// --- Stacks -----------------------------------------------------------------------------------------------

uint64_t hash_of(const uintptr_t* frames, unsigned count) {
  uint64_t hash = count;
  for (unsigned i = 0; i < count; i++) hash = random_mix(hash + frames[i]);
  return hash;
}

// The record of a stack; nullptr: no memory.
ProfileStack* stack_find(const uintptr_t* frames, unsigned count) {
  const uint64_t hash = hash_of(frames, count);
  ProfileStack*& first = stack_buckets[hash % kStackBuckets];
  for (ProfileStack* stack = first; stack != nullptr; stack = stack->next) {
    if (stack->hash == hash && stack->frame_count == count &&
        memcmp(stack->frames(), frames, count * sizeof *frames) == 0)
      return stack;
  }
  auto* made = static_cast<ProfileStack*>(record_make(sizeof(ProfileStack) + count * sizeof *frames));
  if (made == nullptr) return nullptr;
  *made = ProfileStack{first, profile.newest, hash, count, 0, {}, {}, {}, {}};
  memcpy(made->frames(), frames, count * sizeof *frames);
  return profile.newest = first = made;
}

void sum_add(ProfileSum& sum, double blocks, size_t size) {
  sum.blocks += blocks;
  sum.bytes += blocks * double(size);
}

// What a sample stands for is in use, or has changed its size, or has gone.
void live_add(const ProfiledBlock& block, double blocks, size_t size) {
  sum_add(profile.live, blocks, size);
  sum_add(block.stack->live, blocks, size);
}
void note_peak_before_less() {
  if (profile.live.bytes > profile.peak_bytes * kPeakStep) profile_note_peak();
}
void live_remove(const ProfiledBlock& block) {
  note_peak_before_less();
  live_add(block, -block.weight, block.size);
  if (--block.stack->live_samples == 0) block.stack->live = {};
  if (--profile.block_count == 0) profile.live = {};
}

// --- Blocks by their address -------------------------------------------------------------------------------

ProfiledBlock** bucket_of(uintptr_t address) {
  return &profile_table.buckets[random_mix(address) & (profile_table.bucket_count - 1)];
}

void table_put(ProfiledBlock* block) {
  ProfiledBlock** bucket = bucket_of(block->address());
  block->next = *bucket;
  *bucket = block;
}

// Takes the block that starts there off its bucket; nullptr: there is none.
ProfiledBlock* table_take(uintptr_t address) {
  for (ProfiledBlock** at = bucket_of(address); *at != nullptr; at = &(*at)->next) {
    ProfiledBlock* block = *at;
    if (block->address() != address) continue;
    *at = block->next;
    return block;
  }
  return nullptr;
}

// Twice as many buckets, if there is memory; buckets become longer otherwise.
void table_grow() {
  const ProfileTable before = profile_table;
  const size_t size = before.bucket_count * sizeof(void*);
  void* larger = os_map(2 * size, os_page_size());
  if (larger == nullptr) return;
  profile_table = {static_cast<ProfiledBlock**>(larger), 2 * before.bucket_count};
  for (size_t i = 0; i < before.bucket_count; i++) {
    ProfiledBlock* next;
    for (ProfiledBlock* block = before.buckets[i]; block != nullptr; block = next) {
      next = block->next;
      table_put(block);
    }
  }
  os_discard(before.buckets, size);
}

ProfiledBlock* block_make() {
  ProfiledBlock* block = unused_blocks;
  if (block == nullptr) return static_cast<ProfiledBlock*>(record_make(sizeof(ProfiledBlock)));
  unused_blocks = block->next;
  return block;
}

void block_unuse(ProfiledBlock* block) {
  block->next = unused_blocks;
  unused_blocks = block;
}

// A block that is on no bucket any more.
void block_end(ProfiledBlock* block) {
  if (block->generation == generation) live_remove(*block);
  block_unuse(block);
}

// Takes all blocks that `is_it` says off the table.
template <typename Is>
void table_end(Is is_it) {
  for (size_t i = 0; i < profile_table.bucket_count; i++) {
    for (ProfiledBlock** at = &profile_table.buckets[i]; *at != nullptr;) {
      ProfiledBlock* block = *at;
      if (!is_it(*block)) {
        at = &block->next;
        continue;
      }
      *at = block->next;
      block_end(block);
    }
  }
}

// --- What heaps tell (profiled.h) --------------------------------------------------------------------------

// Whether so much is in use that somebody is to be told. profile_lock held.
bool is_high() {
  if (profile.live.bytes < kHighLeast || profile.live.bytes < profile.noted_bytes * kHighStep) return false;
  profile.noted_bytes = profile.live.bytes;
  return profile_on_high.load_relaxed() != nullptr;
}

void visit_made(const ProfiledMalloc& made) {
  uintptr_t frames[kFramesMost];
  const unsigned count = os_stack_take(frames, kFramesMost, 0);
  const double weight = 1 / sample_chance(made.counted);
  {
    ProfileHeld held;
    if (!held) return;
    ProfileStack* stack = stack_find(frames, count);
    ProfiledBlock* block = stack != nullptr ? block_make() : nullptr;
    if (block == nullptr) {
      profile.left_out++;
      return;
    }
    // Of one that has been freed unseen, in a signal handler.
    if (ProfiledBlock* old = table_take(address_of(made.block))) block_end(old);
    *block = {nullptr, ~address_of(made.block), made.size, weight, stack, made.heap, generation};
    table_put(block);
    sum_add(stack->made, weight, made.size);
    live_add(*block, weight, made.size);
    stack->live_samples++;
    if (++profile.block_count > profile_table.bucket_count) table_grow();
    if (!is_high()) return;
  }
  profile_on_high.load_relaxed()();
}

void* visit_taken(const void* block) {
  ProfileHeld held;
  return held ? table_take(address_of(block)) : nullptr;
}

void visit_gone(void* taken) {
  ProfileHeld held;
  if (held) block_end(static_cast<ProfiledBlock*>(taken));
}

void visit_stayed(void* taken) {
  auto* block = static_cast<ProfiledBlock*>(taken);
  ProfileHeld held;
  if (held) block->generation == generation ? table_put(block) : block_unuse(block);
}

void visit_resized(const void* start, size_t size) {
  ProfileHeld held;
  ProfiledBlock* block = held ? table_take(address_of(start)) : nullptr;
  if (block == nullptr) return;
  if (size < block->size) note_peak_before_less();
  live_add(*block, -block->weight, block->size);
  live_add(*block, block->weight, size);
  block->size = size;
  table_put(block);
}

void visit_emptied(const ProgramHeap& heap) {
  ProfileHeld held;
  if (held) table_end([&](const ProfiledBlock& block) { return block.heap == &heap; });
}

constexpr ProfileVisitor kVisitor{visit_made, visit_taken, visit_gone, visit_stayed, visit_resized, visit_emptied};

}  // namespace

ProfileHeld::ProfileHeld() : is_held_(!lock_is_mine(profile_lock) && !profile_is_lost.load_relaxed()) {
  if (is_held_) lock_acquire(profile_lock);
}
ProfileHeld::~ProfileHeld() {
  if (is_held_) lock_release(profile_lock);
}

void profile_note_peak() {
  if (profile.live.bytes <= profile.peak_bytes) return;
  profile.peak_bytes = profile.live.bytes;
  for (ProfileStack* stack = profile.newest; stack != nullptr; stack = stack->older) stack->peak = stack->live;
}

bool profile_start(uint64_t interval) {
  SamplePause pause;
  if (!profile_watch(kVisitor)) return false;
  os_stack_start();
  {
    ProfileHeld held;
    if (!held || !tables_make()) return false;
    if (!profile_is_on()) {
      generation++;
      table_end([](const ProfiledBlock&) { return true; });
      for (ProfileStack* stack = profile.newest; stack != nullptr; stack = stack->older)
        stack->made = stack->live = stack->peak = stack->lost = {}, stack->live_samples = 0;
      profile.live = {};
      profile.peak_bytes = profile.noted_bytes = 0;
      profile.block_count = profile.left_out = 0;
      profile.has_lost = false;
      profile.started_ms = os_clock_ms();
    }
    profile.interval = interval;
    profile.stopped_ms = 0;
  }
  sample_start_bytes(interval);
  return true;
}

void profile_stop() {
  if (!profile_is_on()) return;
  sample_start_bytes(0);
  ProfileHeld held;
  if (held) profile.stopped_ms = os_clock_ms();
}

}  // namespace poolalloc
