"""Names of the functions in which addresses are.

By addr2line, if it is there, which knows files, lines and what was inlined; else, and for files without debugging
information, by the symbols; else FILE+OFFSET.

Always holds: a file that is gone, or no ELF file, gives FILE+OFFSET.
"""
import bisect
import collections
import dataclasses
import pathlib
import re
import shutil
import struct
import subprocess

from .elf import Elf, is_elf


@dataclasses.dataclass(frozen=True)
class Frame:
    function: str
    place: str  # FILE:LINE, or the module

    def __str__(self):
        return f"{self.function} ({self.place})" if self.place else self.function


def demangled(names):
    """The names as C++ has them, if c++filt is there."""
    tool = shutil.which("c++filt")
    mangled = [name for name in names if name.startswith("_Z")]
    if not tool or not mangled:
        return {}
    result = subprocess.run([tool], input="\n".join(mangled), capture_output=True, text=True)
    return dict(zip(mangled, result.stdout.splitlines()))


def damages():
    """What a damaged ELF file raises."""
    from elftools.common.exceptions import ELFError
    return ELFError, struct.error, ValueError, LookupError, TypeError, AttributeError, AssertionError


class Module:
    """A file with code."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.elf = None
        try:
            if is_elf(path):
                elf = Elf(path)
                # What is damaged shows when it is read.
                elf.virtual_address(0), elf.functions
                self.elf = elf
        except (OSError, *damages()):
            pass

    def virtual(self, offset):
        """The address that the file gives to what is at an offset in it."""
        return self.elf.virtual_address(offset) if self.elf else None

    def by_addr2line(self, addresses):
        """{address: frames, the innermost first}, of those of which it knows the function."""
        tool = shutil.which("addr2line")
        if not tool or not self.elf:
            return {}
        result = subprocess.run([tool, "-a", "-f", "-C", "-i", "-e", self.path], capture_output=True, text=True,
                                input="".join(f"{address:#x}\n" for address in addresses))
        found, frames = {}, []
        lines = iter(result.stdout.splitlines())
        for line in lines:
            if re.fullmatch(r"0x[0-9a-f]+", line):
                frames = found.setdefault(int(line, 16), [])
                continue
            place = next(lines, "??:0").split(" (")[0]
            file, _, number = place.rpartition(":")
            where = f"{pathlib.PurePath(file).name}:{number}" if file not in ("", "??") else self.path.name
            frames.append(Frame(line, where))
        # Without a line it has guessed by the nearest symbol, which may be another function's.
        return {address: frames for address, frames in found.items() if frames and ":" in frames[0].place}

    def by_symbols(self, addresses):
        """{address: name} of those that are in a function which the file names."""
        if not self.elf:
            return {}
        functions = self.elf.functions
        starts = [start for start, _, _ in functions]
        found = {}
        for address in addresses:
            at = bisect.bisect_right(starts, address) - 1
            if at >= 0 and address < functions[at][0] + max(functions[at][1], 1):
                found[address] = functions[at][2]
        names = demangled(set(found.values()))
        return {address: names.get(name, name) for address, name in found.items()}


def frames_of(profile, root=""):
    """{address: frames, the innermost first} for all addresses in the samples; `root` is in front of the files' paths."""
    by_module = collections.defaultdict(list)
    named = {}
    for address in {each for sample in profile.samples for each in sample.stack}:
        mapping = next((each for each in profile.mappings if each.start <= address < each.end), None)
        if mapping is None:
            named[address] = [Frame(f"{address:#x}", "")]
        else:
            by_module[mapping.path].append((address, address - mapping.start + mapping.offset))
    for path, places in by_module.items():
        module = Module(f"{root}{path}")
        virtual = {address: module.virtual(offset) for address, offset in places}
        known = {each for each in virtual.values() if each is not None}
        lines = module.by_addr2line(sorted(known))
        symbols = module.by_symbols(known - set(lines))
        name = pathlib.PurePath(path).name or "?"
        for address, offset in places:
            at = virtual[address]
            if at in lines:
                named[address] = lines[at]
            elif at in symbols:
                named[address] = [Frame(symbols[at], name)]
            else:
                named[address] = [Frame(f"{name}+{offset if at is None else at:#x}", "")]
    return named
