"""What an address in a process's heap is: a block in use or free, of which pool, heap and class.

Always holds: as in snapshot.py.
"""
from .amounts import size_text
from .snapshot import BLOCK, DIRTY, PARKED, heap_title

STATES = {1: "active", 2: "partial", 3: "parked"}


def heap_text(snapshot, address):
    heap = snapshot.heap_at.get(address)
    if heap is None:
        return f"heap {address:#x}, which is none any more"
    number = snapshot.heaps.index(heap)
    return f"heap {number} ({heap_title(heap.kind, heap.thread, heap.name)})"


def chunk_at(snapshot, address):
    return next((chunk for chunk in snapshot.chunks if 0 <= address - chunk.start < snapshot.chunk_size), None)


def pool_around(snapshot, address):
    chunk = chunk_at(snapshot, address)
    pools = chunk.pools if chunk else []
    return next((pool for pool in pools if 0 <= address - pool.start < pool.slices * snapshot.slice_size), None)


def free_blocks(snapshot, pool):
    """The blocks on the pool's list, in its order; and whether it leads out of the pool."""
    memory, found = snapshot.memory, []
    secret = memory.word(memory.address["link_secret"])
    end = pool.address + memory.number["BlockPool.list"]
    at = pool.head
    while at != end:
        index, rest = divmod(at - pool.start, pool.block_size)
        if rest != 0 or not 0 <= index < pool.handed_out or len(found) > pool.handed_out:
            return found, False
        found.append(at)
        at ^= memory.word(at) ^ secret
    return found, True


def pool_lines(snapshot, pool):
    free, is_whole = free_blocks(snapshot, pool)
    return [f"pool of blocks of {pool.block_size} bytes at {pool.start:#x}, {STATES[pool.state]}, of {heap_text(snapshot, pool.owner)}",
            f"  {pool.live} live, {len(free)} on its list, {pool.hidden} in holes, {pool.capacity - pool.handed_out} never handed out"
            + ("" if is_whole else "; the list leads out of the pool: a free block was written to")]


def block_lines(snapshot, address):
    """What is at an address."""
    pool = pool_around(snapshot, address)
    if pool is None:
        for extent in snapshot.read_extents():
            if 0 <= address - extent.start < extent.size:
                return extent_lines(extent, address)
        where = "free memory of the library's" if chunk_at(snapshot, address) else "no memory of the library's"
        return [f"{address:#x} is in {where}"]
    index = (address - pool.start) // pool.block_size
    start = pool.start + index * pool.block_size
    inside = f", {address - start} bytes behind its start" if address != start else ""
    if index >= pool.capacity:
        return [f"{address:#x} is behind the last block of its pool", *pool_lines(snapshot, pool)]
    if index >= pool.handed_out:
        state = "has never been handed out"
    elif start in free_blocks(snapshot, pool)[0]:
        state = "is free"
    elif pool.hidden and in_hole(snapshot, pool, start):
        state = "is free, in a hole"
    else:
        state = "is in use, or on its way home from a thread that has freed it" if pool.state != PARKED else "is in use"
    return [f"block {start:#x} of {pool.block_size} bytes{inside} {state}", *pool_lines(snapshot, pool)]


def in_hole(snapshot, pool, start):
    offset = start - pool.start
    chunk = snapshot.memory.object("Chunk", pool.address - pool.address % snapshot.chunk_size + snapshot.memory.number["chunk_header"])
    first = (pool.start - pool.start // snapshot.chunk_size * snapshot.chunk_size) // snapshot.slice_size
    word = chunk.inside("info", "ChunkInfo")("holes", first + offset // snapshot.slice_size)
    return bool(word >> offset % snapshot.slice_size // snapshot.memory.number["hole_grain"] & 1)


def extent_lines(extent, address):
    huge = ", in huge pages where the kernel has them" if extent.is_huge else ""
    if extent.state == BLOCK:
        return [f"large block {extent.start:#x} of {extent.block_size} bytes, {address - extent.start} bytes behind its start, "
                f"is in use{huge}"]
    kind = "its memory may be resident" if extent.state == DIRTY else "without memory"
    return [f"{address:#x} is in free memory for large blocks: {size_text(extent.size)} at {extent.start:#x}, {kind}{huge}"]


def chunk_lines(snapshot, address):
    """What is in the chunk around an address."""
    chunk = chunk_at(snapshot, address)
    if chunk is None:
        return [f"{address:#x} is in no chunk"]
    lines = [f"chunk {chunk.start:#x}, {'open' if chunk.is_open else 'closed'}{', huge pages wanted' if chunk.is_huge else ''}: "
             f"{bin(chunk.free).count('1')} of {bin(chunk.slices).count('1')} slices free"]
    for pool in sorted(chunk.pools, key=lambda pool: pool.start):
        lines.append(f"  {pool.start:#x} {pool.slices} slice{'s' if pool.slices > 1 else ''}, {STATES[pool.state]}, blocks of "
                     f"{pool.block_size}: {pool.live} of {pool.capacity} live, {heap_text(snapshot, pool.owner)}")
    return lines
