// Static probes at events of slow paths, for bpftrace, perf, gdb and SystemTap (`readelf -n` lists them): each is an
// instruction that does nothing until somebody puts a breakpoint there. Where the compiler finds no sys/sdt.h (Debian's
// systemtap-sdt-dev) there are none.
//
//   poolalloc:refill(heap, block size)                  a list has run out
//   poolalloc:pool_grow(heap, block size, address)      a new pool
//   poolalloc:pool_release(heap, block size, address)   a pool without a live block goes
//   poolalloc:region_map(address, bytes)                address space for chunks
//   poolalloc:extents_map(address, bytes)               address space for large blocks
//   poolalloc:purge(address, bytes)                     memory goes back to the kernel
//   poolalloc:large_alloc(address, bytes)               a large block
//   poolalloc:large_free(address, bytes)
//   poolalloc:messages_send(heap, messages)             blocks go home to another heap
//   poolalloc:heap_reap(heap, pools)                    a sender has released pools of a heap that sleeps
//   poolalloc:heap_attach(heap)                         a thread has got a heap
//   poolalloc:heap_detach(heap)                         and lets go of it
//
// Who may use it: everybody.
#pragma once

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define PA_PROBE1(name, a) DTRACE_PROBE1(poolalloc, name, a)
#define PA_PROBE2(name, a, b) DTRACE_PROBE2(poolalloc, name, a, b)
#define PA_PROBE3(name, a, b, c) DTRACE_PROBE3(poolalloc, name, a, b, c)
#else
#define PA_PROBE1(name, a) ((void)(a))
#define PA_PROBE2(name, a, b) ((void)(a), (void)(b))
#define PA_PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif
