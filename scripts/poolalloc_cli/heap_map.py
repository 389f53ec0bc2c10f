"""A picture of a process's heap: 4 MiB of address space a row, 64 KiB a cell.

Always holds: as in snapshot.py; the same cells are drawn in the terminal, as an SVG and as a PNG.
"""
import collections
import dataclasses
import html
import json
import pathlib

from .amounts import BARS, bar, share, size_text
from .snapshot import BLOCK, DIRTY, ChunkSeen, ExtentSeen

CELL = 1 << 16
ROW = 64
# Kind: what it stands for, its letter where there are no colours, and its colour; of pools those of their live share.
KINDS = {
    "none": ("not the library's", " ", (255, 255, 255)),
    "clean": ("free, never used or given back", ".", (230, 230, 230)),
    "dirty": ("free, its memory may be resident", "~", (255, 205, 90)),
    "spare": ("kept by a heap for its next pools", "+", (200, 160, 230)),
    "large": ("large blocks", "L", (70, 160, 90)),
    "pool": ("pools, the darker the more is live", "#", None),
}
LIGHT, DARK = (198, 219, 239), (8, 48, 107)


@dataclasses.dataclass(frozen=True)
class Cell:
    kind: str
    live: float = 0  # share of a pool
    text: str = ""   # what it is, for who points at it

    @property
    def color(self):
        if self.kind != "pool":
            return KINDS[self.kind][2]
        return tuple(round(light + (dark - light) * self.live) for light, dark in zip(LIGHT, DARK))

    @property
    def letter(self):
        return bar(self.live) if self.kind == "pool" else KINDS[self.kind][1]


@dataclasses.dataclass
class DrawnPool:
    """What of a pool is drawn, as in snapshot.Pool."""
    start: int
    slices: int
    block_size: int
    live: int
    capacity: int


@dataclasses.dataclass
class Row:
    start: int
    is_huge: bool
    cells: list


def chunk_row(chunk):
    cells = []
    for i in range(ROW):
        if not chunk.slices >> i & 1:
            cells.append(Cell("none"))
        elif chunk.free >> i & 1:
            cells.append(Cell("dirty" if chunk.dirty >> i & 1 else "clean"))
        else:
            cells.append(Cell("spare"))
    for pool in chunk.pools:
        first = (pool.start - chunk.start) // CELL
        live = pool.live * pool.block_size / (pool.slices * CELL)
        text = f"{pool.live} of {pool.capacity} blocks of {pool.block_size} bytes"
        cells[first:first + pool.slices] = [Cell("pool", live, text)] * pool.slices
    return Row(chunk.start, chunk.is_huge, cells)


def extent_rows(extents):
    """A cell is what most of it is."""
    parts = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    huge, texts = collections.Counter(), {}
    for extent in extents:
        kind = {BLOCK: "large", DIRTY: "dirty"}.get(extent.state, "clean")
        at, end = extent.start, extent.start + extent.size
        while at < end:
            until = min(end, (at // CELL + 1) * CELL)
            row, cell = divmod(at // CELL, ROW)
            parts[row][cell][kind] += until - at
            texts[row, cell, kind] = f"a block of {size_text(extent.block_size)}" if kind == "large" else ""
            huge[row] += (until - at) * extent.is_huge
            at = until
    for row, cells in sorted(parts.items()):
        drawn = [Cell("none")] * ROW
        for i, kinds in cells.items():
            kind = kinds.most_common(1)[0][0]
            drawn[i] = Cell(kind, 0, texts[row, i, kind])
        yield Row(row * ROW * CELL, huge[row] * 2 > sum(sum(each.values()) for each in cells.values()), drawn)


def rows_of(chunks, extents):
    return sorted([*map(chunk_row, chunks), *extent_rows(extents)], key=lambda row: row.start)


def rows_of_file(path):
    """Of what a process has left at its end (POOLALLOC_STATS=map:FILE); with its number and name."""
    whole = json.loads(pathlib.Path(path).read_text())
    chunks = []
    for each in whole["chunks"]:
        pools = [DrawnPool(each["start"] + pool["first"] * CELL, pool["slices"], pool["size"], pool["live"], pool["capacity"])
                 for pool in each.pop("pools", [])]
        chunks.append(ChunkSeen(pools=pools, **each))
    extents = [ExtentSeen(**each) for each in whole["extents"]]
    return rows_of(chunks, extents), whole["process"], whole["program"]


def legend():
    return [(kind, KINDS[kind][0]) for kind in ("pool", "large", "spare", "dirty", "clean")]


def terminal_lines(rows, is_colored):
    """Rows that look alike stand for each other."""
    def drawn(row):
        if not is_colored:
            return "".join(cell.letter for cell in row.cells)
        return "".join(f"\x1b[48;2;{r};{g};{b}m " for r, g, b in (cell.color for cell in row.cells)) + "\x1b[0m"
    lines, alike = [], 0
    for i, row in enumerate(rows):
        text = f"{drawn(row)} {'huge' if row.is_huge else '    '}"
        follows = i > 0 and lines[-1].endswith(text) and rows[i - 1].start + ROW * CELL == row.start
        alike = alike + 1 if follows else 0
        if alike:
            if alike > 1:
                lines.pop()
            lines.append(f"{f'and {alike} more':>14} {text}")
        else:
            lines.append(f"{row.start:#014x} {text}")
    names = []
    for kind, meaning in legend():
        if is_colored:
            r, g, b = Cell(kind, 0.7).color
            names.append(f"\x1b[48;2;{r};{g};{b}m  \x1b[0m {meaning}")
        else:
            names.append(f"{BARS if kind == 'pool' else KINDS[kind][1]} {meaning}")
    return [*lines, "", "  ".join(names)]


SIDE, LEFT, TOP = 11, 130, 60


def svg(rows, title):
    """An SVG; who points at a cell is told what it is."""
    height = TOP + SIDE * len(rows) + 10
    parts = [f'<text x="10" y="18" font-size="15">{html.escape(title)}</text>']
    at = 10
    for kind, meaning in legend():
        parts.append(f'<rect x="{at}" y="30" width="{SIDE}" height="{SIDE}" fill="rgb{Cell(kind, 0.7).color}"/>'
                     f'<text x="{at + SIDE + 4}" y="40">{html.escape(meaning)}</text>')
        at += 30 + int(len(meaning) * 6.2)
    for i, row in enumerate(rows):
        y = TOP + i * SIDE
        parts.append(f'<text x="10" y="{y + SIDE - 2}" font-family="monospace">{row.start:#x}{" H" if row.is_huge else ""}</text>')
        first = 0
        while first < ROW:
            end = first + 1
            while end < ROW and row.cells[end] == row.cells[first]:
                end += 1
            cell = row.cells[first]
            if cell.kind != "none":
                text = cell.text or KINDS[cell.kind][0]
                parts.append(f'<rect x="{LEFT + first * SIDE}" y="{y}" width="{(end - first) * SIDE - 1}" height="{SIDE - 1}" '
                             f'fill="rgb{cell.color}"><title>{html.escape(text)}</title></rect>')
            first = end
    width = max(LEFT + ROW * SIDE + 10, at)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'font-family="sans-serif" font-size="10"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n')


def write_png(rows, path):
    from .places import need
    need("matplotlib", "python3-matplotlib")
    import matplotlib.image
    import numpy
    pixels = numpy.array([[cell.color for cell in row.cells] for row in rows], dtype=numpy.uint8)
    matplotlib.image.imsave(path, pixels.repeat(SIDE, axis=0).repeat(SIDE, axis=1))


def sums(rows):
    """How much is what."""
    counts = collections.Counter(cell.kind for row in rows for cell in row.cells)
    live = sum(cell.live for row in rows for cell in row.cells)
    return (f"{size_text(counts['pool'] * CELL)} of pools, {share(live, counts['pool'])} of it live; "
            f"{size_text(counts['large'] * CELL)} of large blocks; {size_text(counts['dirty'] * CELL)} free and dirty, "
            f"{size_text(counts['clean'] * CELL)} clean")
