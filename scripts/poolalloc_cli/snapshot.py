"""What there is in a process's heap at one moment, by size class, heap, chunk and extent, from its memory.

The figures have the keys of lib/inspect/statistics.def, and are what poolalloc_stats_json says, but for what the kernel
alone knows.

Always holds: as in memory.py; what cannot be, because it was being changed, is left out.
"""
import collections
import dataclasses

FREE, ACTIVE, PARTIAL, PARKED, INTERIOR = range(5)
CLEAN, DIRTY, BLOCK = range(3)
KINDS = {1: "thread", 2: "orphan", 3: "orphan", 4: "shared", 5: "program"}
SYSTEM_CALLS = ["map", "unmap", "move", "advise", "protect", "wait", "other"]
WRAP = 1 << 32


@dataclasses.dataclass
class Pool:
    address: int     # of its descriptor
    start: int       # of its first block
    owner: int       # its heap's address
    size_class: int
    block_size: int
    slices: int
    state: int
    capacity: int    # blocks
    handed_out: int
    live: int        # those under way included
    hidden: int      # in holes
    head: int        # of its list

    @property
    def free(self):
        return self.handed_out - self.hidden - self.live


@dataclasses.dataclass
class ChunkSeen:
    start: int
    is_huge: bool
    is_open: bool
    slices: int  # which it has, a bit each
    free: int
    dirty: int
    pools: list


@dataclasses.dataclass
class HeapSeen:
    address: int
    kind: str
    name: str    # of a heap of the program's
    thread: int  # the number of the thread that has it
    object: object


@dataclasses.dataclass
class ExtentSeen:
    start: int
    size: int
    state: int
    is_huge: bool
    block_size: int


def heap_title(kind, thread, name):
    """`thread`: a number, or 0. The profile's heap is named as its kind is."""
    return " ".join(filter(None, [kind, str(thread or ""), name if name != kind else ""]))


def bits(word):
    return bin(word).count("1")


def wake_count(blocks, is_hardened):
    """block_pool_wake_count."""
    if blocks >= 16:
        return blocks // 8
    return 2 if blocks >= 8 and not is_hardened else 1


class Snapshot:
    def __init__(self, memory):
        self.memory = memory
        number = memory.number
        self.chunk_size, self.slice_size = number["chunk_size"], number["slice_size"]
        self.class_count = number["class_count"]
        sizes = memory.read(memory.address["class_sizes"], 4 * self.class_count)
        self.class_sizes = [int.from_bytes(sizes[4 * i:4 * i + 4], "little") for i in range(self.class_count)]
        self.accounts = memory.variable("accounts", "Accounts")
        self.heaps = list(self.read_heaps())
        self.heap_at = {heap.address: heap for heap in self.heaps}
        self.regions = 0
        self.chunks = list(self.read_chunks())
        self.pools = [pool for chunk in self.chunks for pool in chunk.pools]

    # --- Heaps ---------------------------------------------------------------------------------------------------

    def read_heaps(self):
        memory = self.memory
        gate = memory.word(memory.address["heaps"])
        while gate != 0:
            seen = memory.object("HeapGate", gate)
            address, kind, name = seen("heap"), KINDS.get(seen("state"), "lost"), None
            heap = memory.object("Heap", address)
            if heap("program") != 0:
                program = memory.object("ProgramHeap", heap("program"))
                name = program.text("name")
                if kind == "program" and program("is_own"):
                    kind = "profile"
            yield HeapSeen(address, kind, name, heap("thread_number") if kind == "thread" else 0, heap)
            gate = seen("next")

    def chain_active(self, heap, size_class):
        return heap.object.inside("chains", "PoolChain", size_class)("active")

    def list_active(self, heap, size_class):
        return heap.object.inside("active", "FreeList", size_class)

    def under_way(self):
        """Blocks of each class that have been sent home and not taken in, or wait in batches."""
        memory = self.memory
        data = memory.read(memory.address["sent_without_heap"], 4 * self.class_count)
        counts = [int.from_bytes(data[4 * c:4 * c + 4], "little") for c in range(self.class_count)]
        for heap in self.heaps:
            for c in range(self.class_count):
                counts[c] += heap.object("sent", c) - heap.object("taken", c)
            for i in range(memory.number["batch_count"]):
                batch = heap.object.inside("batches", "RemoteBatch", i)
                pool = self.pool_at(batch("pool")) if batch("pool") else None
                if pool is not None:
                    # Of 16 bits: as batch_count says.
                    counts[pool.size_class] += (batch("limit") - batch("room")) % (1 << 16)
        return [count % WRAP if count % WRAP < WRAP // 2 else 0 for count in counts]

    # --- Chunks and pools ----------------------------------------------------------------------------------------

    def read_chunks(self):
        memory = self.memory
        table = memory.address["regions"]
        count = memory.word(table + memory.number["RegionTable.count"], 4)
        first = table + memory.number["RegionTable.regions"]
        for i in range(count):
            region = memory.object("Region", memory.word(first + 8 * i))
            if region("base") == 0:
                continue
            self.regions += 1
            for c in range(region("chunk_count")):
                words = region.inside("chunks", "ChunkWords", c)
                has = [bool(region(name) >> c & 1) for name in ("huge_chunks", "open_chunks", "free_chunks")]
                free = region("slices") if has[2] else words("free")
                chunk = ChunkSeen(region("base") + c * self.chunk_size, has[0], has[1], region("slices"), free,
                                  words("dirty"), [])
                if chunk.is_open:
                    chunk.pools = list(self.read_pools(chunk.start))
                yield chunk

    def read_pools(self, start):
        header = self.memory.object("Chunk", start + self.memory.number["chunk_header"])
        for i in range(self.memory.number["slices_per_chunk"]):
            pool = self.read_pool(start, header, i)
            if pool is not None:
                yield pool

    def read_pool(self, start, header, i):
        seen = header.inside("slices", "BlockPool", i)
        state, c = seen("state"), seen("size_class")
        if state not in (ACTIVE, PARTIAL, PARKED) or c >= self.class_count:
            return None
        size = self.class_sizes[c]
        if seen("reciprocal") != (2 ** 64 - 1) // size + 1 or i + seen("slice_count") > self.memory.number["slices_per_chunk"]:
            return None
        holes = [header.inside("info", "ChunkInfo")("holes", i + k) for k in range(seen("slice_count"))]
        if state == ACTIVE:
            heap = self.heap_at.get(seen("owner"))
            if heap is None or self.chain_active(heap, c) != seen.address:
                return None
            of_list = self.list_active(heap, c)
            live = of_list("count", signed=True)
        else:
            of_list = seen.inside("parked_list", "FreeList")
            live = of_list("count", signed=True)
            if state == PARKED:
                live = seen("capacity") - (wake_count(seen("capacity"), self.memory.number["is_hardened"]) - live)
        hidden = self.hidden(size, holes)
        most = seen("size") - hidden
        if live < 0 or live > seen("capacity") + len(self.heaps) or most < 0 or most > seen("capacity"):
            return None
        return Pool(seen.address, start + i * self.slice_size, seen("owner"), c, size, seen("slice_count"), state,
                    seen("capacity"), seen("size"), min(live, most), hidden, of_list("head"))

    def hidden(self, size, holes):
        """Blocks that start in holes."""
        grain, count = self.memory.number["hole_grain"], 0
        for slice_index, word in enumerate(holes):
            for bit in range(16):
                if word >> bit & 1:
                    start = slice_index * self.slice_size + bit * grain
                    count += -(-(start + grain) // size) - -(-start // size)
        return count

    def pool_at(self, descriptor):
        """The pool that a descriptor is of; None: it is of none."""
        start = descriptor - descriptor % self.chunk_size
        header = self.memory.object("Chunk", start + self.memory.number["chunk_header"])
        first = header.address + header.offset("slices")
        return self.read_pool(start, header, (descriptor - first) // self.memory.number["BlockPool"])

    # --- Extents -------------------------------------------------------------------------------------------------

    def read_extents(self):
        memory, seen = self.memory, set()
        root = memory.variable("extent_map", "ExtentMap")
        for branch_address in pointers(root.data):
            branch = memory.object("ExtentMapBranch", branch_address)
            for leaf_address in pointers(branch.data):
                leaf = memory.object("ExtentMapLeaf", leaf_address)
                unit = memory.number["ExtentUnit"]
                for at in range(memory.number["ExtentUnit.starting"], len(leaf.data), unit):
                    address = int.from_bytes(leaf.data[at:at + 8], "little")
                    if address != 0 and address not in seen:
                        seen.add(address)
                        extent = memory.object("Extent", address)
                        if extent("state") in (CLEAN, DIRTY, BLOCK):
                            yield ExtentSeen(extent("start"), extent("size"), extent("state"), bool(extent("is_huge")),
                                             extent("block_size") if extent("state") == BLOCK else 0)

    # --- Figures -------------------------------------------------------------------------------------------------

    def figures(self):
        """As poolalloc_stats_json has them, without version, library, process and program."""
        classes = self.class_figures()
        whole = collections.Counter()
        for each in classes:
            for key in ("live", "under_way", "free", "hidden", "untouched"):
                whole[key] += each[key]
                whole[f"{key}_bytes"] += each[key] * each["size"]
        memory, accounts = self.memory, self.accounts
        retention = accounts.inside("retention", "Retention")
        extents = memory.variable("extents", "ExtentTotals")
        misuses = memory.address["misuses"]
        calls = memory.read(memory.address["system_calls"], 8 * len(SYSTEM_CALLS))
        # What the hardened library keeps of what was freed is in use for its heaps.
        kept = memory.variable("kept", "UsageKept")
        large_blocks = extents("block_count") - kept("large_blocks", signed=True)
        large = extents("block_bytes") - kept("large_bytes", signed=True) - kept("large_around", signed=True)
        guarded = memory.variable("guard", "Guard")
        live_blocks = whole["live"] + guarded("alive") - kept("blocks", signed=True)
        live_bytes = whole["live_bytes"] + guarded("alive_bytes") - kept("bytes", signed=True)
        opened = [chunk for chunk in self.chunks if chunk.is_open]
        return {
            "blocks": {
                "live_bytes": live_bytes + large, "live_blocks": live_blocks + large_blocks,
                "under_way_bytes": whole["under_way_bytes"], "under_way_blocks": whole["under_way"],
                "free_bytes": whole["free_bytes"], "hidden_bytes": whole["hidden_bytes"],
                "untouched_bytes": whole["untouched_bytes"]},
            "large": {"live_bytes": large, "live_blocks": large_blocks, "dirty_bytes": extents("dirty_free", signed=True),
                      "clean_bytes": extents("clean_free", signed=True)},
            "guard": {"live_bytes": guarded("alive_bytes"), "live_blocks": guarded("alive")},
            "memory": {
                "in_use": accounts("in_use"), "peak": accounts("peak"), "pools": accounts("in_use") - accounts("large"),
                "kept": max(accounts("dirty_free", signed=True), 0), "mapped": accounts("mapped")},
            "chunks": {
                "regions": self.regions, "open": len(opened),
                "closed": sum(not chunk.is_open for chunk in self.chunks), "huge": sum(chunk.is_huge for chunk in self.chunks),
                "free_slices": sum(bits(chunk.free) for chunk in self.chunks),
                "dirty_slices": sum(bits(chunk.free & chunk.dirty) for chunk in self.chunks)},
            "retention": {
                "budget": accounts("budget"), "churn": retention("churn"), "regret": retention("regret"),
                "given_back": accounts("purged"), "needed_again": retention("needed_again")},
            "remote": {"messages": sum(heap.object("sent_messages") for heap in self.heaps)},
            "threads": {"now": memory.word(memory.address["heaps_owned"], 4),
                        "peak": memory.word(memory.address["heaps_owned_peak"], 4), "heaps": len(self.heaps)},
            "misuse": {key: memory.word(misuses + memory.number[f"MisuseCounts.{key}"]) for key in ("certain", "foreign")},
            "system_calls": {name: int.from_bytes(calls[8 * i:8 * i + 8], "little") for i, name in enumerate(SYSTEM_CALLS)},
            "classes": classes,
            "heaps": self.heap_figures(),
        }

    def class_figures(self):
        under_way, by_class = self.under_way(), collections.defaultdict(list)
        for pool in self.pools:
            by_class[pool.size_class].append(pool)
        rows = []
        for c, pools in sorted(by_class.items()):
            live = sum(pool.live for pool in pools)
            away = min(under_way[c], live)
            rows.append({
                "size": self.class_sizes[c], "pools": len(pools), "pool_bytes": self.slice_size * sum(pool.slices for pool in pools),
                "live": live - away, "under_way": away, "free": sum(pool.free for pool in pools),
                "hidden": sum(pool.hidden for pool in pools),
                "untouched": sum(pool.capacity - pool.handed_out for pool in pools)})
        return rows

    def heap_figures(self):
        by_heap = collections.defaultdict(list)
        for pool in self.pools:
            by_heap[pool.owner].append(pool)
        rows = []
        for heap in self.heaps:
            pools = by_heap[heap.address]
            row = {"kind": heap.kind}
            if heap.name is not None:
                row["name"] = heap.name
            rows.append({
                **row, "thread": heap.thread, "pools": len(pools), "pool_bytes": self.slice_size * sum(pool.slices for pool in pools),
                "spare_bytes": self.slice_size * heap.object.inside("spares", "Spares")("slices"),
                "live_blocks": sum(pool.live for pool in pools),
                "live_bytes": sum(pool.live * pool.block_size for pool in pools),
                "batches": heap.object("batch_count"), "mailbox": heap.object("mail_count"),
                "sent_messages": heap.object("sent_messages")})
        return rows


def pointers(data):
    return [address for address in memoryview(data).cast("Q") if address != 0]
