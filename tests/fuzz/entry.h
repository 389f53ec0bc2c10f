// Every function that a trace calls, as an object that counts its calls: the names of interpose/entries.def, made from
// that table, and those of poolalloc.h.
//
// Always holds: entry::NAME(...) and api::NAME(...) call the function that the dynamic linker, or the linker, has bound
// to NAME; which of them have been called is known over all processes that come from this one.
// Who may use it: the trace interpreter.
#pragma once

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <atomic>

#define POOLALLOC_NO_SHORT_NAMES
#include "poolalloc.h"

namespace fuzz {

inline constexpr unsigned kEntriesMost = 256;

struct EntryName {
  const char* name;
  unsigned index;
  EntryName* next;

  explicit EntryName(const char* entry_name);
};

// All entries, the last one first, and how often each was called.
inline EntryName* entry_names = nullptr;
inline unsigned entry_count = 0;
inline std::atomic<uint32_t> own_calls[kEntriesMost];
// Children share it once shared_calls_make was called.
inline std::atomic<uint32_t>* calls = own_calls;
void shared_calls_make();

inline EntryName::EntryName(const char* entry_name) : name(entry_name), index(entry_count++), next(entry_names) {
  entry_names = this;
}

template <typename Signature>
struct Entry;
template <typename Result, typename... Arguments>
struct Entry<Result(Arguments...)> : EntryName {
  Result (*function)(Arguments...);

  Entry(const char* entry_name, Result (*called)(Arguments...)) : EntryName(entry_name), function(called) {}
  Result operator()(Arguments... arguments) {
    calls[index].fetch_add(1, std::memory_order_relaxed);
    return function(arguments...);
  }
};

// The functions under names that no compiler knows.
namespace linked {
#define ENTRY(result, name, parameters, arguments, function) result name parameters __asm__(#name);
#define CHAINED(result, name, parameters, arguments, function, chained) result name parameters __asm__(#name);
#define ENDING(result, name, parameters, arguments, function) result name parameters __asm__(#name);
#include "interpose/entries.def"
#undef ENDING
#undef CHAINED
#undef ENTRY
}  // namespace linked

namespace entry {
#define ENTRY(result, name, parameters, arguments, function) inline Entry<result parameters> name{#name, linked::name};
#define CHAINED(result, name, parameters, arguments, function, chained) \
  inline Entry<result parameters> name{#name, linked::name};
#define ENDING(result, name, parameters, arguments, function) inline Entry<result parameters> name{#name, linked::name};
#include "interpose/entries.def"
#undef ENDING
#undef CHAINED
#undef ENTRY
}  // namespace entry

// poolalloc.h, but for functions with "..." (chains.cc).
namespace api {
#define API(name) inline Entry<decltype(poolalloc_##name)> name{"poolalloc_" #name, poolalloc_##name};
API(pool_init)
API(pool_alloc)
API(pool_alloc_aligned)
API(pool_realloc)
API(pool_alloc_zeroed)
API(pool_strdup)
API(pool_vprintf)
API(pool_mark_get)
API(pool_rewind)
API(pool_limit)
API(pool_stats_get)
API(pool_reset)
API(pool_free)
API(heap_new)
API(heap_alloc)
API(heap_calloc)
API(heap_aligned_alloc)
API(heap_strdup)
API(heap_realloc)
API(heap_free)
API(heap_release_all)
API(heap_delete)
API(heap_push)
API(heap_pop)
API(heap_of)
API(heap_name)
API(heap_stats_get)
API(heap_visit)
API(version)
API(stats_get)
API(stats_json)
API(visit)
API(good_size)
API(expand)
API(recalloc)
API(aligned_realloc)
API(trim)
API(option_set)
API(option_get)
API(profile_start)
API(profile_stop)
API(profile_write)
API(on_message)
API(on_no_memory)
#undef API
inline EntryName pool_printf{"poolalloc_pool_printf"};
}  // namespace api

}  // namespace fuzz
