// The figures of statistics.def as JSON (statistics.h).
//
// Who may use it: through statistics.h.
#include "inspect/statistics.h"

#include <string.h>

#include "chunk/accounts.h"
#include "chunk/extent_map.h"
#include "chunk/region.h"
#include "heap/misuse.h"
#include "heap/pool_walk.h"
#include "heap/program_heap.h"
#include "inspect/census.h"
#include "inspect/json.h"
#include "os/os.h"

namespace poolalloc {
namespace {

void write_totals(Json& json, const Census& census) {
  const char* section = "";
  auto number = [&](const char* of, const char* key, uint64_t value) {
    if (strcmp(section, of) != 0) {
      if (*section != 0) json.close('}');
      json.open(section = of, '{');
    }
    json.number(key, value);
  };
#define STATISTIC(section, key, value, meaning) number(#section, #key, uint64_t(value));
#include "inspect/statistics.def"
#undef STATISTIC
  json.close('}');
}

void write_classes(Json& json, const Census& census) {
  json.open("classes", '[');
  for (unsigned c = 0; c < kClassCount; c++) {
    const ClassCensus& each = census.classes[c];
    if (each.pools == 0) continue;
    json.open(nullptr, '{');
#define CLASS_STATISTIC(key, value, meaning) json.number(#key, uint64_t(value));
#include "inspect/statistics.def"
#undef CLASS_STATISTIC
    json.close('}');
  }
  json.close(']');
}

const char* kind_of(const HeapGate& gate) {
  switch (gate.state.load_relaxed()) {
    case HeapState::owned:
      return "thread";
    case HeapState::orphan:
    case HeapState::vanished:
      return "orphan";
    case HeapState::shared:
      return "shared";
    case HeapState::program:
      return gate.heap->program->is_own ? "profile" : "program";
    default:
      return "lost";
  }
}

PA_RACY uint32_t heap_thread_number(const HeapGate& gate) {
  return gate.state.load_relaxed() == HeapState::owned ? gate.heap->thread_number : 0;
}

PA_RACY void write_heap(Json& json, const HeapGate& gate, const HeapCensus& each) {
  const Heap& heap = *gate.heap;
  json.open(nullptr, '{');
  json.text("kind", kind_of(gate));
  if (heap.program != nullptr) json.text("name", heap.program->name);
#define HEAP_STATISTIC(key, value, meaning) json.number(#key, uint64_t(value));
#include "inspect/statistics.def"
#undef HEAP_STATISTIC
  json.close('}');
}

// Some at a time, a walk over all pools for each lot.
void write_heaps(Json& json) {
  constexpr unsigned kLot = 64;
  json.open("heaps", '[');
  for (const HeapGate* gate = heap_list(); gate != nullptr;) {
    HeapCensus lot[kLot] = {};
    const HeapGate* first = gate;
    unsigned count = 0;
    for (; gate != nullptr && count < kLot; gate = gate->next) lot[count++].heap = gate->heap;
    census_of_heaps(lot, count);
    for (unsigned i = 0; i < count; i++, first = first->next) write_heap(json, *first, lot[i]);
  }
  json.close(']');
}

}  // namespace

PA_COLD void statistics_write(const char* library, StatisticsWrite write, void* context) {
  Census census;
  census_take(census);
  Json json(write, context);
  json.open(nullptr, '{');
  json.number("version", 1);
  json.text("library", library);
  json.number("process", uint64_t(os_process_id()));
  json.text("program", os_program_name());
  write_totals(json, census);
  write_classes(json, census);
  write_heaps(json);
  json.close('}');
  json.end_line();
}

// --- The map ------------------------------------------------------------------------------------------------

namespace {

// Pools of one chunk, as they are seen.
PA_RACY void write_pools(Json& json, uintptr_t start) {
  json.open("pools", '[');
  const Chunk* chunk = chunk_of(pointer_to<void>(start));
  for (unsigned i = 0; i < kSlicesPerChunk; i++) {
    PoolSeen seen;
    if (!pool_look(chunk->slices[i], &seen)) continue;
    json.open(nullptr, '{');
    json.number("first", i);
    json.number("slices", seen.slices);
    json.number("size", class_size(seen.size_class));
    json.number("live", uint64_t(seen.live));
    json.number("capacity", uint64_t(seen.capacity));
    json.close('}');
  }
  json.close(']');
}

void write_chunks(Json& json) {
  json.open("chunks", '[');
  SharedLockGuard guard(regions_lock);
  regions_find([&](const Region& region) {
    for (unsigned i = 0; region.base != nullptr && i < region.chunk_count; i++) {
      const bool is_open = chunk_bit(region.open_chunks, i);
      const uintptr_t start = address_of(chunk_address(region, i));
      json.open(nullptr, '{');
      json.number("start", start);
      json.number("is_huge", chunk_is_huge(region, i));
      json.number("is_open", is_open);
      json.number("slices", region.slices);
      json.number("free", chunk_bit(region.free_chunks, i) ? region.slices : region.chunks[i].free.load_relaxed());
      json.number("dirty", region.chunks[i].dirty.load_relaxed());
      if (is_open) write_pools(json, start);
      json.close('}');
    }
    return false;
  });
  json.close(']');
}

void write_extents(Json& json) {
  json.open("extents", '[');
  SharedLockGuard guard(extents_lock);
  for (const Extent* each = extent_from(0); each != nullptr;) {
    const uintptr_t start = each->start.load_relaxed();
    json.open(nullptr, '{');
    json.number("start", start);
    json.number("size", each->size);
    json.number("state", uint64_t(each->state));
    json.number("is_huge", each->is_huge);
    json.number("block_size", each->state == ExtentState::block ? each->block_size : 0);
    json.close('}');
    each = extent_from(start + each->size);
  }
  json.close(']');
}

}  // namespace

PA_COLD void map_write(StatisticsWrite write, void* context) {
  Json json(write, context);
  json.open(nullptr, '{');
  json.number("version", 1);
  json.number("process", uint64_t(os_process_id()));
  json.text("program", os_program_name());
  write_chunks(json);
  write_extents(json);
  json.close('}');
  json.end_line();
}

}  // namespace poolalloc
