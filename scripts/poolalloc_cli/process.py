"""A running process under the library: what its figures are, read from outside.

The library's symbol poolalloc_state is found in its file, and what it leads to in /proc/PID/mem.

Always holds: the process is not stopped, and notices nothing, unless it is asked for something.
"""
import fcntl
import pathlib
import re
import struct
import time

from .elf import Elf
from .memory import Memory
from .places import Failed
from .snapshot import Snapshot

# Outside (lib/heap/evict.h).
NOTHING, TRIM, PROFILE = 0, 1, 3
# ProfileRequest (lib/api/profile.h): size, is_on, interval, error, path.
REQUEST = struct.Struct("<IIQI256s4x")
STOP = (1 << 64) - 1
PATIENCE_SECONDS = 5


class Process:
    """A process that has the library; Failed if it has not, or may not be looked at."""

    def __init__(self, pid):
        self.pid = int(pid)
        self.folder = pathlib.Path(f"/proc/{pid}")
        try:
            maps = (self.folder / "maps").read_text(errors="replace")
        except FileNotFoundError:
            raise Failed(f"no process {pid}", 1) from None
        except PermissionError:
            raise Failed(f"no right to look at process {pid}", 1) from None
        # Their first parts. Where both libraries are loaded, one of them has memory.
        found = re.findall(r"^([0-9a-f]+)-\S+ \S+ 00000000 \S+ \d+ +(/.*/libpoolalloc(?:-secure)?\.so.*)$", maps, re.M)
        self.is_loaded = bool(found)
        if not found:
            return
        memories = [self.library_at(int(start, 16), path) for start, path in found]
        has_memory = [each for each in memories if each[0].variable("accounts", "Accounts")("mapped") != 0]
        self.memory, self.file = (has_memory or memories)[0]
        self.wanted, self.request = self.memory.address["wanted"], self.memory.address["profile"]

    def library_at(self, start, path):
        file = pathlib.Path(f"/proc/{self.pid}/root{path}")
        if path.endswith(" (deleted)") or not file.exists():
            raise Failed(f"the library's file of process {self.pid} is gone: {path}", 1)
        address = Elf(file).address_of("poolalloc_state")
        if address is None:
            raise Failed(f"{path} has no poolalloc_state", 1)
        return Memory(self.read, start + address), file

    @property
    def name(self):
        try:
            return (self.folder / "comm").read_text().strip()
        except OSError:
            return "?"

    def thread_names(self):
        """By the numbers that the process itself has for its threads, which may be others in a container."""
        names = {}
        for status in self.folder.glob("task/*/status"):
            try:
                fields = dict(line.split(":\t", 1) for line in status.read_text(errors="replace").splitlines())
            except OSError:
                continue
            names[int(fields["NSpid"].split()[-1])] = fields["Name"]
        return names

    def read(self, address, size):
        try:
            with open(self.folder / "mem", "rb", buffering=0) as memory:
                memory.seek(address)
                data = memory.read(size)
        except PermissionError:
            raise Failed(f"no right to read the memory of process {self.pid}", 1) from None
        except (OSError, ValueError):
            data = b""
        if len(data) != size:
            raise Failed(f"process {self.pid} has ended", 1)
        return data

    def write(self, address, data):
        try:
            with open(self.folder / "mem", "r+b", buffering=0) as memory:
                memory.seek(address)
                memory.write(data)
        except PermissionError:
            raise Failed(f"no right to write to the memory of process {self.pid}", 1) from None
        except OSError:
            raise Failed(f"process {self.pid} has ended", 1) from None

    def passes_on(self):
        """Whether calls go on to the allocator behind the library (lib/heap/next_allocator.h)."""
        return self.memory.word(self.memory.address["next_allocator"]) != 0

    def accounts(self):
        """What there is in all (lib/chunk/accounts.h), an object of memory.py."""
        return self.memory.variable("accounts", "Accounts")

    def snapshot(self):
        return Snapshot(self.memory)

    def ask(self, what, seconds):
        """Asks for what the process does out of malloc and free; False: it has not come by within some seconds."""
        before = int.from_bytes(self.read(self.wanted, 4), "little")
        if before == NOTHING:
            self.write(self.wanted, what.to_bytes(4, "little"))
        until = time.monotonic() + seconds
        while int.from_bytes(self.read(self.wanted, 4), "little") != NOTHING:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True if before == NOTHING else self.ask(what, seconds)

    def profile_is_on(self):
        return REQUEST.unpack(self.read(self.request, REQUEST.size))[1] != 0

    def ask_profile(self, interval=0, stops=False, path=""):
        """Begins to sample, or ends; and writes what there is to a file of the process. An errno value."""
        # One who asks at a time.
        with open(self.file, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self.ask_profile_alone(interval, stops, path)

    def ask_profile_alone(self, interval, stops, path):
        size, is_on, *_ = REQUEST.unpack(self.read(self.request, REQUEST.size))
        if size != REQUEST.size:
            raise Failed(f"the library in process {self.pid} is of another version", 1)
        self.write(self.request, REQUEST.pack(size, is_on, STOP if stops else interval, 0, path.encode()))
        if not self.ask(PROFILE, PATIENCE_SECONDS):
            self.write(self.wanted, NOTHING.to_bytes(4, "little"))
            raise Failed(f"process {self.pid} has not come by in {PATIENCE_SECONDS} s: it does when it allocates or frees next, "
                         "out of its lists", 1)
        return REQUEST.unpack(self.read(self.request, REQUEST.size))[3]

    def resident(self):
        try:
            return int(re.search(r"^VmRSS:\s+(\d+)", (self.folder / "status").read_text(), re.M)[1]) * 1024
        except (OSError, TypeError):
            return 0


def find_process(word):
    """A process by its number, or by its name, if there is one only that has the library."""
    if word.isdigit():
        return loaded(Process(word))
    from .places import need
    psutil = need("psutil", "python3-psutil")
    named = [each for each in psutil.process_iter(["pid", "name"]) if each.info["name"] == word]
    found = []
    for each in named:
        try:
            process = Process(each.info["pid"])
        except Failed:
            continue
        if process.is_loaded:
            found.append(process)
    if not named:
        raise Failed(f"no process {word}", 1)
    if len(found) == 1:
        return found[0]
    if not found:
        raise Failed(f"no process {word} has loaded libpoolalloc, or may be looked at", 1)
    raise Failed(f"several processes {word}: {' '.join(str(each.pid) for each in found)}", 1)


def loaded(process):
    if not process.is_loaded:
        raise Failed(f"process {process.pid} has not loaded libpoolalloc", 1)
    return process
