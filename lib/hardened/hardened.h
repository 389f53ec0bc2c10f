// The malloc family of the hardened library, over the same heaps.
//
// What is done besides, block by block:
//   each block of a pool ends in a record of eight bytes (base/record.h): who has made it, how large it is, whether it
//   is in use, mixed with its address and a secret. What is between the size asked for and the record is filled with a
//   byte that is checked when the block is freed, and so are its neighbours' ends
//
//   a freed block is cleared, waits in a quarantine, and must be clear still when it is handed out again
//
//   a large block lies between inaccessible pages; its memory is given back when it is freed, its addresses later
//
//   a block of no bytes is an address that nobody can use
//
//   realloc moves, but for large blocks that it has made larger twice; a size that is said to delete must be right, and
//   who frees must suit who has made
//
// Always holds: who keeps to the rules of malloc notices nothing; an accusation is exact, as in heap/misuse.h.
// Thread-safe. Who may use it: api.
#pragma once

#include <stddef.h>

#include "base/record.h"
#include "heap/misuse.h"

namespace poolalloc {

// A caller who does not say the block's size.
inline constexpr size_t kUnsaid = SIZE_MAX;

// `alignment` is a power of two. nullptr: no memory; errno is left alone. What is handed out is zero.
void* hardened_alloc(size_t size, size_t alignment, Maker maker);
// Any pointer at all.
void hardened_free(void* p, Caller caller, size_t said_size);
// Makes a block larger where it is; false: it would have to move, as where it is made smaller.
bool hardened_expand(void* p, size_t size);
// Notes that a block in use, which stays where it is, has become smaller.
void hardened_shrink(void* p, size_t size);
// Frees the large block in the extent that starts there, whoever has made it; and where such a block is, and its size.
void hardened_discard(void* start);
void* hardened_block_in(void* start, size_t* size);
// Whether a block starts at p, in use or freed.
bool hardened_has(const void* p);
// Whether p is a block in use; says so if not. Its size, as it was asked for, in *size.
bool hardened_find(void* p, Caller caller, size_t* size);

}  // namespace poolalloc
