"""The files in which processes keep their figures (lib/api/stats_file.h), and the tree of the processes.

Always holds: a file that is not whole is left out.
"""
import dataclasses
import pathlib
import struct

MAGIC = b"poolalloc stats\0"
LAYOUT = struct.Struct("<16sIIQQ32s2Q4Q8Q")


@dataclasses.dataclass
class Figures:
    """Of one program that a process has run; bytes, and milliseconds of a clock that all share."""
    size: int
    ended: int
    process: int
    parent: int
    program: str
    started_ms: int
    written_ms: int
    peak_live_bytes: int
    peak_live_blocks: int
    live_bytes: int
    live_blocks: int
    peak_resident: int
    peak_for_blocks: int
    kept: int
    budget: int
    purged: int
    needed_again: int
    threads: int
    invalid_frees: int


def read_file(path):
    """The figures in a file, or None."""
    data = pathlib.Path(path).read_bytes()
    if len(data) < LAYOUT.size or not data.startswith(MAGIC):
        return None
    magic, *fields = LAYOUT.unpack_from(data)
    fields[4] = fields[4].split(b"\0")[0].decode(errors="replace")
    return Figures(*fields)


def read_folder(folder):
    """All figures, by the order in which the programs were started."""
    found = [read_file(path) for path in pathlib.Path(folder).iterdir()]
    return sorted((each for each in found if each is not None), key=lambda each: (each.started_ms, each.process))


@dataclasses.dataclass
class Node:
    """A program that a process has run, and those that were started from there."""
    figures: Figures
    children: list

    def largest(self):
        return max([self.figures.peak_resident, *(child.largest() for child in self.children)])


def tree(all_figures, root):
    """The trees of programs, what the process `root` has run first in front, others by their size. A program that another
    one became by exec stands below it."""
    nodes, roots, last = [], [], {}
    for figures in all_figures:
        node = Node(figures, [])
        nodes.append(node)
        above = last.get(figures.process) or last.get(figures.parent)
        (above.children if above else roots).append(node)
        last[figures.process] = node
    for node in nodes:
        node.children.sort(key=Node.largest, reverse=True)
    return sorted(roots, key=lambda node: (node.figures.process != root, -node.largest()))
