"""Commands for gdb about a process under libpoolalloc, or its core file: `source` this file, then `help poolalloc`.

Always holds: memory is read, never written, and nothing in the process is called.
"""
import pathlib
import sys

import gdb

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from poolalloc_cli import blocks, watch  # noqa: E402
from poolalloc_cli.memory import Memory  # noqa: E402
from poolalloc_cli.places import Failed  # noqa: E402
from poolalloc_cli.snapshot import Snapshot  # noqa: E402


def read(address, size):
    try:
        return bytes(gdb.selected_inferior().read_memory(address, size))
    except gdb.MemoryError:
        raise Failed(f"{size} bytes at {address:#x} cannot be read") from None


def snapshot():
    try:
        state = int(gdb.parse_and_eval("(unsigned long)&poolalloc_state"))
    except gdb.error:
        raise Failed("libpoolalloc is not loaded") from None
    return Snapshot(Memory(read, state))


class Poolalloc(gdb.Command):
    """What is in the heap of a process under libpoolalloc.

poolalloc block ADDRESS    what is at the address: a block in use or free, of which pool and heap
poolalloc chunk ADDRESS    all pools of the 4 MiB around it
poolalloc classes          all size classes
poolalloc heaps            all heaps, of threads and others"""

    def __init__(self):
        super().__init__("poolalloc", gdb.COMMAND_DATA)

    def invoke(self, arguments, from_tty):
        try:
            print("\n".join(self.lines(*gdb.string_to_argv(arguments))))
        except Failed as failed:
            raise gdb.GdbError(str(failed)) from None
        except (TypeError, ValueError):
            raise gdb.GdbError("poolalloc block ADDRESS | chunk ADDRESS | classes | heaps") from None

    def lines(self, what, *address):
        if what in ("block", "chunk"):
            (address,) = address
            value = int(gdb.parse_and_eval(f"(unsigned long)({address})"))
            return {"block": blocks.block_lines, "chunk": blocks.chunk_lines}[what](snapshot(), value)
        if what == "classes" and not address:
            return watch.class_lines(snapshot().class_figures())
        if what == "heaps" and not address:
            return watch.heap_lines(snapshot().heap_figures())
        raise TypeError


Poolalloc()
