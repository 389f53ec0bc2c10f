// Heaps of the program, as the functions of poolalloc.h and as objects of poolalloc.hpp.
//
// Always holds: heaps come, lose all their blocks and go while nobody else is at work, and while nobody has pushed
// them. Who may use it: the table of operations (interpreter.cc).
#include <new>

#include "world.h"

namespace fuzz {
namespace {

struct Request {
  size_t size, alignment, count;
};
using Make = void* (*)(ProgramHeapKnown& heap, Request& r);

void* by_resource(ProgramHeapKnown& heap, Request& r) {
  if (!heap.is_object) return api::heap_aligned_alloc(heap.heap, r.alignment, r.size);
  return heap.get().allocate(r.size, r.alignment);
}
void* by_allocator(ProgramHeapKnown& heap, Request& r) {
  r.alignment = 16;
  if (!heap.is_object) return poolalloc::allocator<char>().allocate(r.size);
  return poolalloc::allocator<char>(heap.get()).allocate(r.size);
}

const Make kMakes[] = {
    [](ProgramHeapKnown& heap, Request& r) { return r.alignment = 16, api::heap_alloc(heap.heap, r.size); },
    [](ProgramHeapKnown& heap, Request& r) { return api::heap_aligned_alloc(heap.heap, r.alignment, r.size); },
    [](ProgramHeapKnown& heap, Request& r) {
      return r.alignment = 16, api::heap_calloc(heap.heap, r.count, r.size / r.count);
    },
    [](ProgramHeapKnown& heap, Request& r) { return r.alignment = 16, api::heap_realloc(heap.heap, nullptr, r.size); },
    by_resource,
    [](ProgramHeapKnown& heap, Request& r) -> void* {
      static const char text[] = "what is copied to a heap";
      r.alignment = 16;
      const char* some = text + r.size % sizeof text;
      r.size = strlen(some) + 1;
      char* copy = api::heap_strdup(heap.heap, some);
      if (copy != nullptr) expect(strcmp(copy, some) == 0, "heap_strdup has copied something else", copy, r.size);
      return copy;
    },
    by_allocator,
};
constexpr unsigned kMakeCount = sizeof kMakes / sizeof *kMakes;

// Takes all blocks of the heap out of the shadow, wherever they are.
void forget_blocks(unsigned heap) {
  auto forget = [=](Block* block) {
    if (block == nullptr || block->heap != heap) return block;
    block_remove(block);
    shadow_give_up(block);
    return static_cast<Block*>(nullptr);
  };
  for (Lane& lane : world.lanes) {
    for (Block*& slot : lane.slots) slot = forget(slot);
  }
  for (std::atomic<Block*>& slot : world.shared) slot = forget(slot);
  if (!world.is_lost) return;
  // Of lanes that are gone; who may have been about to change their bytes.
  for (unsigned i = 0; i < shadow_blocks;) {
    Block* block = shadow_at(i);
    if (block->heap != heap) {
      i++;
      continue;
    }
    shadow_take_out(block);
    shadow_give_up(block);
  }
}

bool is_pushed(unsigned index) {
  for (const Lane& lane : world.lanes) {
    for (unsigned i = 0; i < lane.pushed->depth; i++) {
      if (lane.pushed->heaps[i] == index) return true;
    }
  }
  return false;
}

// The first object that comes or goes in a thread makes libc allocate for the thread's end: in the first thread that
// was before the trace.
bool objects_are_used() { return world.direct == 1; }

void heap_end(ProgramHeapKnown& known) {
  forget_blocks(unsigned(&known - world.heaps) + 1);
  if (known.is_object && objects_are_used()) {
    known.get().~heap();
  } else {
    api::heap_delete(known.heap);
  }
  known.heap = nullptr;
}

void heap_begin(ProgramHeapKnown& known, const Step& step) {
  known.limit = step.how % 4 == 0 ? plain_size(step.amount) * 16 + 4096 : 0;
  known.is_object = step.how % 3 == 0 && objects_are_used();
  snprintf(known.name, sizeof known.name, "heap %u of the trace", step.amount % 1000);
  const poolalloc_heap_options options{sizeof options, known.name, known.limit};
  try {
    if (known.is_object) {
      new (known.object) poolalloc::heap(known.name, known.limit);
      known.heap = known.get().get();
    } else {
      known.heap = api::heap_new(step.how % 4 == 1 ? nullptr : &options);
      if (step.how % 4 == 1) known.name[0] = 0;
    }
  } catch (const std::bad_alloc&) {
    known.heap = nullptr;
  }
  if (known.heap == nullptr) return expect(world.may_refuse, "a heap was refused");
  expect(strcmp(api::heap_name(known.heap), known.name) == 0, "a heap has another name");
  poolalloc_heap_options none{0, nullptr, 0};
  errno = kErrno;
  expect(api::heap_new(&none) == nullptr && errno == EINVAL, "heap_new with options of no size");
}

}  // namespace

void do_heap_allocate(Lane& lane, const Step& step) {
  const unsigned index = step.other % kHeaps;
  ProgramHeapKnown& known = world.heaps[index];
  if (known.heap == nullptr) return;
  const unsigned make = step.how % 16 % kMakeCount;
  for (unsigned i = 0; i < step.count(); i++) {
    Block*& slot = lane.slots[(step.slot() + i) % kSlots];
    if (slot != nullptr) block_free(slot, step.how + i);
    slot = nullptr;
    const size_t size = affordable(size_of(step, i));
    Request request{size, alignment_of(step), size % 3 == 0 && size != 0 ? size_t{3} : 1};
    // The allocator that has no heap takes malloc.
    const bool is_malloc = kMakes[make] == by_allocator && !known.is_object;
    const unsigned heap = is_malloc ? heap_of_lane(lane) : index + 1;
    errno = kErrno;
    void* p;
    try {
      p = kMakes[make](known, request);
    } catch (const std::bad_alloc&) {
      p = nullptr;
    }
    if (p == nullptr) {
      refused(heap, request.size, request.alignment, errno);
      continue;
    }
    expect(errno == kErrno, "a request that was met has changed errno", p, request.size);
    const bool is_cleared = make == 2;
    if (is_cleared) zeros_check(p, request.size, "heap_calloc is not zero");
    Block about{.asked = request.size, .alignment = request.alignment, .heap = uint8_t(heap)};
    about.is_large = is_large_for(request.alignment);
    about.is_cleared = is_cleared;
    slot = block_add(p, about);
  }
}

void do_heap_new(Lane&, const Step& step) {
  ProgramHeapKnown& known = world.heaps[step.other % kHeaps];
  if (known.heap == nullptr) heap_begin(known, step);
}

void do_heap_end(Lane&, const Step& step) {
  const unsigned index = step.other % kHeaps;
  ProgramHeapKnown& known = world.heaps[index];
  if (known.heap == nullptr || is_pushed(index)) return;
  if (step.how % 2 == 0) return heap_end(known);
  forget_blocks(index + 1);
  if (known.is_object) {
    known.get().release();
  } else {
    api::heap_release_all(known.heap);
  }
}

void do_push(Lane& lane, const Step& step) {
  Pushed& pushed = *lane.pushed;
  const unsigned index = step.other % kHeaps;
  if (step.how % 2 == 0) {
    errno = kErrno;
    const int result = api::heap_pop();
    if (pushed.depth == 0) return expect(result == -1 && errno == EINVAL, "a pop without a push");
    expect(result == 0, "a pop has failed");
    pushed.depth--;
    return;
  }
  if (world.heaps[index].heap == nullptr) return;
  errno = kErrno;
  const int result = api::heap_push(world.heaps[index].heap);
  if (pushed.depth == kPushedMost) return expect(result == -1 && errno == EAGAIN, "a ninth push");
  if (result != 0 && world.may_refuse) return;
  expect(result == 0, "a push has failed");
  pushed.heaps[pushed.depth++] = uint8_t(index);
}

void thread_pops_all(Pushed& pushed) {
  for (; pushed.depth != 0; pushed.depth--) expect(api::heap_pop() == 0, "a pop has failed");
}

void heaps_end_all() {
  for (ProgramHeapKnown& known : world.heaps) {
    if (known.heap != nullptr) heap_end(known);
  }
}

}  // namespace fuzz
