// All that the library says of the process, against the shadow: figures, by class and by heap, and every block.
//
// Always holds: nobody else is at work meanwhile. What is live beside the trace's blocks (the C++ and C libraries'
// blocks and libFuzzer's) is counted before the trace, and stays as much: threads have been started before, so libc
// keeps their stacks and what belongs to these. Who may use it: the trace interpreter.
#include <stdio.h>
#include <string.h>

#include "world.h"

namespace fuzz {
namespace {

constexpr unsigned kClasses = 160;

struct Counts {
  uint64_t blocks, bytes;
};
// By size class, in the order of their sizes; large blocks are the last.
struct Census {
  Counts of[kClasses + 1];
  Counts all;
};
// What is not the trace's.
Census others;

unsigned class_of(size_t size) {
  if (size <= 128) return size == 0 ? 0 : unsigned((size - 1) / 16);
  const unsigned doubling = 63 - unsigned(__builtin_clzl(size - 1));
  return 8 + (doubling - 7) * 8 + (unsigned((size - 1) >> (doubling - 3)) & 7);
}

void count(Census& census, size_t size, bool is_large, int64_t change) {
  Counts& of = census.of[is_large ? kClasses : class_of(size)];
  of.blocks += uint64_t(change);
  of.bytes += uint64_t(change) * size;
  census.all.blocks += uint64_t(change);
  census.all.bytes += uint64_t(change) * size;
}

// --- JSON --------------------------------------------------------------------------------------------------------

char text[1 << 20];
size_t text_length;

void append(const char* more, size_t length, void*) {
  expect(text_length + length < sizeof text, "the figures are too long");
  memcpy(text + text_length, more, length);
  text_length += length;
  text[text_length] = 0;
}

// Whether brackets and quotes match: what is outside strings nests, and it is one object.
void expect_well_formed() {
  char open[64];
  unsigned depth = 0;
  bool is_quoted = false;
  for (const char* c = text; *c != 0; c++) {
    if (is_quoted) {
      if (*c == '\\') c++;
      is_quoted = *c != '"';
    } else if (*c == '"') {
      is_quoted = true;
    } else if (*c == '{' || *c == '[') {
      expect(depth < sizeof open, "the figures nest too deep");
      open[depth++] = *c == '{' ? '}' : ']';
    } else if (*c == '}' || *c == ']') {
      expect(depth != 0 && open[--depth] == *c, "the figures do not nest");
    }
  }
  expect(depth == 0 && !is_quoted, "the figures have no end");
}

void figures_take() {
  text_length = 0;
  api::stats_json(append, nullptr);
  expect_well_formed();
}

uint64_t number_behind(const char* from, const char* end, const char* key) {
  char wanted[64];
  snprintf(wanted, sizeof wanted, "\"%s\":", key);
  const char* at = strstr(from, wanted);
  expect(at != nullptr && at < end, key);
  return strtoull(at + strlen(wanted), nullptr, 10);
}

uint64_t figure(const char* section, const char* key) {
  char wanted[64];
  snprintf(wanted, sizeof wanted, "\"%s\":{", section);
  const char* from = strstr(text, wanted);
  expect(from != nullptr, section);
  return number_behind(from, strchr(from, '}'), key);
}

// The rows of an array.
template <typename Visit>
void each_row(const char* array, Visit visit) {
  char wanted[64];
  snprintf(wanted, sizeof wanted, "\"%s\":[", array);
  const char* at = strstr(text, wanted);
  expect(at != nullptr, array);
  for (at = strchr(at, '['); *++at == '{';) {
    const char* end = strchr(at, '}');
    visit(at, end);
    at = end + 1;
    if (*at != ',') break;
  }
}

// --- A visit ---------------------------------------------------------------------------------------------------------

struct Seen {
  uint64_t others;
  unsigned blocks;  // of the trace
};

void see_live(Seen& seen, const poolalloc_area& area, const char* block, const Block* known) {
  if (known == nullptr) return void(seen.others++);
  const poolalloc_heap* heap = known->heap != 0 ? world.heaps[known->heap - 1].heap : nullptr;
  seen.blocks++;
  expect(area.heap == heap, "a visit finds a block in another heap", block, known->usable);
  if (settings.is_hardened) return;
  expect(known->p == block, "a visit finds a block where none begins", block, area.block_size);
  expect(known->usable == area.block_size, "a visit finds a block of another size", block, area.block_size);
}

int see(const poolalloc_area* area, void* block, int is_live, void* context) {
  Seen& seen = *static_cast<Seen*>(context);
  const char *start = static_cast<const char*>(area->start), *p = static_cast<const char*>(block);
  if (block == nullptr) {
    expect(area->block_count * area->block_size <= area->size || area->block_count == 1, "an area has too many blocks",
           start, area->size);
    return 1;
  }
  expect(p >= start && p + area->block_size <= start + area->size, "a visit finds a block outside its area", p,
         area->block_size);
  const Block* known = shadow_find(p);
  // Of the hardened library's large blocks the area's start is no block.
  if (known == nullptr && settings.is_hardened && area->block_count == 1) {
    for (const char* page = start; known == nullptr && page < start + area->size; page += 4096)
      known = shadow_find(page);
  }
  if (is_live != 0) {
    see_live(seen, *area, p, known);
  } else {
    expect(known == nullptr, "a visit finds a block free that is in use", p, area->block_size);
  }
  return 1;
}

// Blocks that a visit need not see: those of the guard, of up to a page; and those of no bytes.
unsigned unseen_most() {
  unsigned most = 0;
  for (unsigned i = 0; i < shadow_blocks; i++) {
    const Block& block = *shadow_at(i);
    const bool has_no_bytes = block.usable == 0 && block.heap == 0 && block.alignment <= 16;
    most += settings.has_guard ? block.usable <= 4096 : settings.is_hardened && has_no_bytes;
  }
  return most;
}

// --- Against the shadow ----------------------------------------------------------------------------------------------

// Blocks of malloc beside those in slots: chains' buffers, and the reserve.
template <typename Visit>
void each_buffer(Visit visit) {
  for (Lane& lane : world.lanes) {
    for (Chain& chain : lane.chains) {
      if (!chain.is_there) continue;
      const poolalloc_pool* first = chain.get();
      if (first->p != nullptr) visit(first->p);
      for (const poolalloc_pool* each = first->next; each != nullptr; each = each->next) visit(each);
    }
  }
  if (const void* block = reserve_block()) visit(block);
}

Census expected() {
  Census census = others;
  for (unsigned i = 0; i < shadow_blocks; i++) count(census, shadow_at(i)->usable, shadow_at(i)->is_large, 1);
  each_buffer([&](const void* buffer) {
    const size_t size = entry::malloc_usable_size(const_cast<void*>(buffer));
    count(census, size, size > 65536, 1);
  });
  return census;
}

bool is_within(uint64_t value, uint64_t wanted, uint64_t below, uint64_t above) {
  return value + below >= wanted && value <= wanted + above;
}

// Blocks of a class that count as live, though nobody has them: where allocations are sampled, each heap may have some
// at hand.
uint64_t at_hand_most() {
  constexpr uint64_t kOfHeap = 32;
  const bool is_sampled = settings.has_guard || world.is_profiled;
  return is_sampled ? kOfHeap * figure("threads", "heaps") : 0;
}

// As the shadow has them, by class and in all.
void look_at_live(const Census& wanted) {
  const uint64_t blocks = figure("blocks", "live_blocks"), bytes = figure("blocks", "live_bytes");
  const unsigned unseen = unseen_most();
  const uint64_t at_hand = at_hand_most();
  const uint64_t all = wanted.all.blocks - (settings.is_hardened ? unseen : 0);
  const uint64_t others_change = settings.has_purge_thread ? 1 : 0;
  const uint64_t above = at_hand * kClasses + others_change, below = above + (settings.has_guard ? unseen : 0);
  expect(is_within(blocks, all, 0, UINT64_MAX - all) || below != 0, "fewer blocks are live than the trace has", nullptr,
         all - blocks);
  expect(is_within(blocks, all, below, above), "more blocks are live than the trace has", nullptr, blocks - all);
  if (settings.is_hardened) return;
  expect(bytes == wanted.all.bytes || below != 0, "as many blocks are live, but not as many bytes", nullptr, bytes);
  const uint64_t large = figure("large", "live_blocks");
  expect(large == wanted.of[kClasses].blocks, "other large blocks are live than the trace has", nullptr, large);
  each_row("classes", [&](const char* row, const char* end) {
    const uint64_t size = number_behind(row, end, "size"), live = number_behind(row, end, "live");
    const uint64_t slack = size <= 1024 ? at_hand + others_change : 0;
    expect(is_within(live, wanted.of[class_of(size)].blocks, slack + (settings.has_guard ? unseen : 0), slack),
           "a class has other live blocks than the trace", nullptr, size);
  });
}

// As they must be among themselves.
void look_at_sums() {
  const uint64_t blocks = figure("blocks", "live_blocks"), under_way = figure("blocks", "under_way_blocks");
  poolalloc_stats stats{};
  api::stats_get(&stats, sizeof stats);
  expect(stats.live_blocks == blocks + under_way, "poolalloc_stats_get and _json differ", nullptr, stats.live_blocks);
  expect(stats.misuses == world.misuses, "misuse was counted that was none", nullptr, stats.misuses);
  expect(stats.foreign_frees == world.foreign, "foreign pointers were counted that were none", nullptr,
         stats.foreign_frees);
  const struct mallinfo2 info = entry::mallinfo2();
  expect(info.uordblks + info.hblkhd == stats.live_bytes, "mallinfo2 and poolalloc_stats_get differ", nullptr,
         info.uordblks);
  if (settings.is_hardened) return;
  uint64_t in_heaps = 0;
  each_row("heaps", [&](const char* row, const char* end) { in_heaps += number_behind(row, end, "live_blocks"); });
  expect(in_heaps + figure("large", "live_blocks") + figure("guard", "live_blocks") == blocks + under_way,
         "the heaps' live blocks are not all", nullptr, in_heaps);
}

void look_at_blocks() {
  Seen seen{};
  expect(api::visit(see, &seen) == 1, "a visit ends early");
  const unsigned unseen = unseen_most();
  expect(seen.blocks <= shadow_blocks, "a visit finds blocks twice", nullptr, seen.blocks - shadow_blocks);
  expect(seen.blocks + unseen >= shadow_blocks, "a visit does not find blocks that are in use", nullptr,
         shadow_blocks - seen.blocks);
  if (settings.is_hardened) return;
  const uint64_t wanted = figure("blocks", "live_blocks") + figure("blocks", "under_way_blocks") - seen.blocks;
  expect(seen.others <= wanted, "a visit finds blocks live that are free", nullptr, seen.others - wanted);
  expect(seen.others >= wanted, "a visit finds blocks free that are live", nullptr, wanted - seen.others);
}

struct HeapSeen {
  unsigned heap, blocks;
  size_t bytes;
};

void look_at_heap(unsigned index) {
  ProgramHeapKnown& known = world.heaps[index];
  poolalloc_heap_stats stats{};
  api::heap_stats_get(known.heap, &stats, sizeof stats);
  expect(int64_t(stats.live_blocks) == known.blocks, "a heap has other blocks than the trace", nullptr,
         stats.live_blocks);
  if (!settings.is_hardened)
    expect(int64_t(stats.live_bytes) == known.bytes, "a heap has other bytes than the trace", nullptr,
           stats.live_bytes);
  expect(stats.peak_bytes >= stats.live_bytes, "a heap's peak is below what is live");
  expect(stats.limit_bytes == (known.limit != 0 ? known.limit : SIZE_MAX), "a heap has another limit");
  expect(known.limit == 0 || stats.live_bytes <= known.limit, "a heap is above its limit", nullptr, stats.live_bytes);
  HeapSeen seen{index + 1, 0, 0};
  const int is_whole = api::heap_visit(
      known.heap,
      [](void* block, size_t size, void* context) {
        HeapSeen& so_far = *static_cast<HeapSeen*>(context);
        const Block* it = shadow_find(block);
        expect(it != nullptr && it->p == block && it->heap == so_far.heap,
               "a heap's visit finds what is no block of it", block, size);
        expect(it->usable == size, "a heap's visit finds a block of another size", block, size);
        so_far.blocks++;
        return 1;
      },
      &seen);
  expect(is_whole == 1 && seen.blocks == known.blocks, "a heap's visit does not find all blocks", nullptr, seen.blocks);
}

}  // namespace

void look_begin() {
  others = {};
  figures_take();
  each_row("classes", [&](const char* row, const char* end) {
    count(others, number_behind(row, end, "size"), false, int64_t(number_behind(row, end, "live")));
  });
  others.of[kClasses] = {figure("large", "live_blocks"), figure("large", "live_bytes")};
  others.all = {figure("blocks", "live_blocks"), figure("blocks", "live_bytes")};
  world.misuses = figure("misuse", "certain");
  world.foreign = figure("misuse", "foreign");
}

void figures_misuses(uint64_t* certain, uint64_t* foreign) {
  poolalloc_stats stats{};
  api::stats_get(&stats, sizeof stats);
  *certain = stats.misuses;
  *foreign = stats.foreign_frees;
}

// What is certain where nobody knows all blocks.
static void look_at_slots() {
  for (const Lane& lane : world.lanes) {
    for (const Block* block : lane.slots) {
      if (block != nullptr) block_check(*block);
    }
  }
}

void look_at_all() {
  if (world.is_lost) return look_at_slots();
  for (Lane& lane : world.lanes) chains_check(lane);
  for (unsigned i = 0; i < shadow_blocks; i++) block_check(*shadow_at(i));
  for (unsigned i = 0; i < kHeaps; i++) {
    if (world.heaps[i].heap != nullptr) look_at_heap(i);
  }
  figures_take();
  look_at_live(expected());
  look_at_sums();
  look_at_blocks();
}

void do_look(Lane&, const Step& step) {
  if (step.how % 4 == 0) entry::malloc_trim(0);
  look_at_all();
}

}  // namespace fuzz
