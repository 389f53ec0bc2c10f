// Giving free memory back, in chunks and in extents: what carries out the decisions of retention.h and of limits.
//
// Always holds: free memory is claimed like any other before it is purged, so nobody can be handed it
// meanwhile (memory inside slices in use is their owner's business); no lock of this layer is held over the system call
// but purge_lock, which the freeing path only ever tries; the OS pages with an open chunk's header keep their memory.
// Who may use it: chunk and above.
#pragma once

#include "chunk/accounts.h"
#include "os/lock.h"

namespace poolalloc {

extern constinit Lock purge_lock;  // held by whoever purges

// Whether `size` more bytes may be used under the hard limit; gives free memory back if they may only then.
// Threads that ask at the same time may exceed it by what they ask for.
bool limit_allows(size_t size);

// Called when `released` bytes were released, without a lock. Purges towards the budget when more than that is dirty
// and free, not all of a large excess at once. Cheap when there is none.
void purge_excess(size_t released);
// What is dirty in slices or in extents serves only the one or the other. So when one kind takes `size` bytes of clean
// memory, the other gives back as much that it does not need, unless that would tear huge pages: a program that turns
// from small blocks to large ones, or back, need not keep both.
enum class MemoryKind { slices, extents };
void purge_in_exchange(size_t size, MemoryKind giver);

// Purges everything that is free; bytes given back. Or all but what is always kept.
size_t purge_all();
size_t purge_idle();

// Makes address space, after the kernel has refused some, without a lock held: unmaps what is wholly free, or waits for
// who is purging; whether to try again.
bool room_make();

}  // namespace poolalloc
