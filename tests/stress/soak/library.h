// What libpoolalloc says of itself, where it is the allocator; under another one there is nothing to ask.
//
// Always holds: every function of poolalloc.h is used only if it is there.
// Who may use it: the soak program, its main thread.
#pragma once

#include "account.h"

#define POOLALLOC_NO_SHORT_NAMES
#include "poolalloc.h"
#pragma weak poolalloc_heap_new
#pragma weak poolalloc_heap_alloc
#pragma weak poolalloc_heap_realloc
#pragma weak poolalloc_heap_strdup
#pragma weak poolalloc_heap_free
#pragma weak poolalloc_heap_stats_get
#pragma weak poolalloc_heap_push
#pragma weak poolalloc_heap_pop
#pragma weak poolalloc_heap_release_all
#pragma weak poolalloc_heap_delete
#pragma weak poolalloc_stats_get
#pragma weak poolalloc_stats_json
#pragma weak poolalloc_option_set
#pragma weak poolalloc_option_get
#pragma weak poolalloc_profile_start
#pragma weak poolalloc_profile_stop
#pragma weak poolalloc_profile_write

// False in the hardened library, which says what was asked for, and counts what blocks take.
bool sizes_are_known();

inline bool is_poolalloc() { return &poolalloc_stats_json != nullptr; }

// What the JSON has.
struct Figures {
  Tally all, under_way, large;
  int64_t free;  // in pools that have live blocks
  int64_t in_use, kept, given_back, threads, heaps;
  int64_t of[kSizeCount];  // live blocks by size
};

// Before the first use.
void library_start();
// Checks that the text is whole, too.
void figures_read(Figures* figures);

// What the process holds beside the program's blocks: libc's, and a block for each thread that there is.
void outside_measure();

// How exact the account must be.
enum class Exact {
  equal,
  sampled,  // there is a profile: blocks that malloc has ready for the samples count as live, too
};
// Compares the library's figures with the account while `threads` others rest. A difference ends the process. Whether
// there was anything to compare.
bool account_compare(const char* when, unsigned threads, Exact exact);

// Sets an option, where there are options.
void option_set(const char* name, const char* value);
// Those that option_set is called for have the values again that they had when library_start was called.
void options_reset();
