// The table of operations, lanes and their threads, and the order of steps (interpreter.h).
//
// Who may use it: through interpreter.h and world.h.
#include "interpreter.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

namespace fuzz {

World world;
Settings settings;

namespace {

// "together" is no operation of a lane: run_range takes it.
constexpr Operation kOperations[] = {
    {"allocate", do_allocate, When::always, 44},
    {"release", do_release, When::always, 28},
    {"release others", do_release_others, When::alone, 18},
    {"resize", do_resize, When::always, 36},
    {"hand over", do_hand_over, When::always, 22},
    {"check", do_check, When::always, 4},
    {"fail", do_fail, When::always, 7},
    {"fail new", do_fail_new, When::alone, 4},
    {"misuse", do_misuse, When::alone, 4},
    {"allocate in a heap", do_heap_allocate, When::always, 14},
    {"new heap", do_heap_new, When::at_rest, 7},
    {"end of a heap", do_heap_end, When::at_rest, 5},
    {"push or pop", do_push, When::always, 6},
    {"allocate from a chain", do_chain_allocate, When::always, 8},
    {"resize in a chain", do_chain_resize, When::always, 5},
    {"rewind a chain", do_chain_rewind, When::always, 4},
    {"end of a chain", do_chain_end, When::always, 2},
    {"ask", do_ask, When::always, 8},
    {"look", do_look, When::at_rest, 5},
    {"option", do_option, When::alone, 5},
    {"limit", do_limit, When::at_rest, 2},
    {"profile", do_profile, When::alone, 4},
    {"sleep", do_sleep, When::always, 1},
    {"fork", do_fork, When::always, 2},
    {"end of a thread", do_end_thread, When::at_rest, 6},
    {"together", nullptr, When::at_rest, 5},
};

constexpr unsigned weight_sum() {
  unsigned sum = 0;
  for (const Operation& each : kOperations) sum += each.weight;
  return sum;
}
static_assert(weight_sum() == 256, "each value of a byte is an operation");

// Which operation each value of the byte is.
const Operation& operation_of(const Step& step) {
  static const auto* rows = [] {
    static uint8_t of[256];
    unsigned at = 0;
    for (const Operation& each : kOperations) {
      for (unsigned i = 0; i < each.weight; i++) of[at++] = uint8_t(&each - kOperations);
    }
    return of;
  }();
  return kOperations[rows[step.operation]];
}

std::atomic<uint64_t> taken{0};
pthread_key_t end_key;

// --- Threads of lanes ----------------------------------------------------------------------------------------------

void lane_step(Lane& lane, unsigned index) {
  const Step& step = world.steps[index];
  const Operation& operation = operation_of(step);
  if (operation.run == nullptr || (world.is_together && operation.when != When::always)) return;
  current_step = index;
  operation.run(lane, step);
  taken.fetch_add(1, std::memory_order_relaxed);
}

// The lane's own steps among [from, to).
void lane_steps(Lane& lane, unsigned from, unsigned to) {
  for (unsigned i = from; i < to; i++) {
    if (world.steps[i].lane() == lane.number) lane_step(lane, i);
  }
}

void* lane_life(void* argument) {
  Lane& lane = *static_cast<Lane*>(argument);
  pthread_setspecific(end_key, &lane);
  for (;;) {
    while (sem_wait(&lane.go) != 0) {
    }
    if (lane.from == lane.to) return nullptr;
    lane_steps(lane, lane.from, lane.to);
    sem_post(&lane.done);
  }
}

// The key's destructor: what a thread's destructors may still do.
void lane_ends(void* argument) {
  Lane& lane = *static_cast<Lane*>(argument);
  // Its pushes ended with the library's own destructor, which may have run before.
  lane.own_pushed.depth = 0;
  for (unsigned i = 0; i < lane.ended_releases; i++) {
    Block*& slot = lane.slots[i * 5 % kSlots];
    if (slot != nullptr) block_free(slot, i);
    slot = nullptr;
    const size_t size = 40 + i * 300;
    void* p = entry::malloc(size);
    if (p == nullptr) {
      refused(0, size, 16, errno);
      continue;
    }
    slot = block_add(p, {.asked = size, .alignment = 16});
  }
}

void lane_post(Lane& lane, unsigned from, unsigned to) {
  lane.from = from;
  lane.to = to;
  sem_post(&lane.go);
}
void lane_wait(Lane& lane) {
  while (sem_wait(&lane.done) != 0) {
  }
}

bool is_direct(const Lane& lane) { return (world.direct >> lane.number & 1) != 0; }

void lane_run(Lane& lane, unsigned from, unsigned to) {
  if (is_direct(lane)) return lane_steps(lane, from, to);
  if (!lane.is_started && !lane_start(lane)) return;
  lane_post(lane, from, to);
  lane_wait(lane);
}

// All lanes take their steps at the same time.
void run_together(unsigned from, unsigned to) {
  if (from == to) return;
  for (Lane& lane : world.lanes) {
    if (!is_direct(lane) && !lane.is_started) lane_start(lane);
  }
  world.is_together = true;
  for (Lane& lane : world.lanes) {
    if (lane.is_started) lane_post(lane, from, to);
  }
  for (Lane& lane : world.lanes) {
    if (is_direct(lane)) lane_steps(lane, from, to);
  }
  for (Lane& lane : world.lanes) {
    if (lane.is_started) lane_wait(lane);
  }
  world.is_together = false;
}

}  // namespace

bool lane_start(Lane& lane) {
  // What libc allocates for a thread must not go with a heap.
  Pushed& own = *leader().pushed;
  const Pushed before = own;
  thread_pops_all(own);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, size_t{256} << 10);
  lane.pushed = &lane.own_pushed;
  lane.own_pushed.depth = 0;
  lane.ended_releases = 0;
  sem_init(&lane.go, 0, 0);
  sem_init(&lane.done, 0, 0);
  lane.is_started = pthread_create(&lane.thread, &attributes, lane_life, &lane) == 0;
  pthread_attr_destroy(&attributes);
  expect(lane.is_started || world.may_refuse, "no thread");
  for (unsigned i = 0; i < before.depth; i++) {
    if (api::heap_push(world.heaps[before.heaps[i]].heap) == 0) own.heaps[own.depth++] = before.heaps[i];
  }
  return lane.is_started;
}

void lane_end(Lane& lane) {
  if (!lane.is_started) return;
  lane_post(lane, 0, 0);
  pthread_join(lane.thread, nullptr);
  lane.is_started = false;
  lane.own_pushed.depth = 0;
}

void do_end_thread(Lane& lane, const Step& step) {
  lane.ended_releases = step.how % 3 == 0 ? step.count() % 40 : 0;
  lane_end(lane);
}

void run_range(unsigned from, unsigned to) {
  for (unsigned i = from; i < to;) {
    const Step& step = world.steps[i];
    const Operation& operation = operation_of(step);
    Lane& lane = world.lanes[step.lane()];
    unsigned next = i + 1;
    if (operation.run == nullptr) {
      next += 4 + step.how % 64;
      if (next > to) next = to;
      run_together(i + 1, next);
    } else if (operation.when == When::at_rest) {
      lane_step(lane, i);
    } else {
      auto is_more = [&](const Step& other) {
        return other.lane() == lane.number && operation_of(other).when != When::at_rest;
      };
      while (next < to && is_more(world.steps[next])) next++;
      lane_run(lane, i, next);
    }
    messages_check();
    i = next;
  }
}

void end_all() {
  world.is_together = false;
  options_restore();
  for (Lane& lane : world.lanes) {
    if (is_direct(lane)) thread_pops_all(*lane.pushed);
    lane_end(lane);
  }
  look_at_all();
  for (Lane& lane : world.lanes) {
    chains_end(lane);
    for (Block*& slot : lane.slots) {
      if (slot != nullptr) block_free(slot, unsigned(&slot - lane.slots));
      slot = nullptr;
    }
  }
  for (std::atomic<Block*>& slot : world.shared) {
    if (Block* block = slot.exchange(nullptr)) block_free(block, 0);
  }
  heaps_end_all();
  messages_check();
  look_at_all();
}

namespace {

void trace_steps(const uint8_t* data, size_t size) {
  static Step steps[kStepsMost];
  world.step_count = unsigned(size / sizeof(Step) < kStepsMost ? size / sizeof(Step) : kStepsMost);
  memcpy(steps, data, world.step_count * sizeof(Step));
  world.steps = steps;
}

void world_begin() {
  shadow_clear();
  world.direct = 1;
  world.is_lost = false;
  for (Lane& lane : world.lanes) {
    lane.number = unsigned(&lane - world.lanes);
    lane.pushed = &lane.own_pushed;
  }
  look_begin();
}

// Threads have been there, and an exception, before the first trace: what libraries keep of them is not the trace's.
void libraries_begin() {
  for (Lane& lane : world.lanes) {
    if (!is_direct(lane)) lane_start(lane);
  }
  for (Lane& lane : world.lanes) lane_end(lane);
  try {
    throw std::bad_alloc();
  } catch (const std::bad_alloc&) {
  }
  { poolalloc::heap warm; }
  expect(fflush(nullptr) == 0, "fflush fails");
}

}  // namespace

void process_begin(const char* folder) {
  snprintf(settings.folder, sizeof settings.folder, "%s", folder);
  pthread_key_create(&end_key, lane_ends);
  char said[64];
  const int length = api::option_get("guard", said, sizeof said);
  settings.has_guard = length > 0 && strcmp(said, "0") != 0;
  api::option_get("purge_thread", said, sizeof said);
  settings.has_purge_thread = strcmp(said, "0") != 0;
  void* p = entry::malloc(5);
  settings.is_hardened = entry::malloc_usable_size(p) == 5 && !settings.has_guard;
  entry::free(p);
  api::option_get("profile", said, sizeof said);
  world.is_profiled = strcmp(said, "0") != 0;
  shared_calls_make();
  handlers_install();
  options_note();
  world_begin();
  libraries_begin();
}

void trace_run(const uint8_t* data, size_t size) {
  trace_steps(data, size);
  world_begin();
  run_range(0, world.step_count);
  end_all();
}

void trace_print(const uint8_t* data, size_t size) {
  trace_steps(data, size);
  for (unsigned i = 0; i < world.step_count; i++) {
    const Step& step = world.steps[i];
    printf("%3u lane %u %-22s slot %4u count %3u how %2u other %3u size %zu alignment %zu\n", i, step.lane(),
           operation_of(step).name, step.slot(), step.count(), step.how % 16u, step.other, size_of(step, 0),
           alignment_of(step));
  }
  fflush(stdout);
}

uint64_t steps_taken() { return taken; }

}  // namespace fuzz
