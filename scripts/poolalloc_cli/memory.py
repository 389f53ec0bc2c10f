"""The library's memory as seen from outside: where its variables are and how they are made (lib/api/layout.def).

Always holds: only `read` is asked for memory, so that it may be a running process's, a stopped one's or a core file's;
what changes meanwhile may be seen before or after.
"""
import struct

from .places import Failed

STATE = struct.Struct("<16s4Q")
VARIABLE = struct.Struct("<24sQ")
NUMBER = struct.Struct("<32sII")
MAGIC = b"libpoolalloc 0\0\0"


def name_in(data):
    return data.split(b"\0")[0].decode()


class Memory:
    """`read(address, size)` gives bytes; `state` is the address of poolalloc_state."""

    def __init__(self, read, state):
        self.read = read
        magic, variables, numbers, variable_count, number_count = STATE.unpack(read(state, STATE.size))
        if magic != MAGIC:
            raise Failed("the library there is of another version", 1)
        self.address = {name_in(name): address for name, address in
                        VARIABLE.iter_unpack(read(variables, VARIABLE.size * self.word(variable_count, 4)))}
        table = list(NUMBER.iter_unpack(read(numbers, NUMBER.size * self.word(number_count, 4))))
        self.number = {name_in(name): value for name, value, _ in table}
        self.element = {name_in(name): size for name, _, size in table}

    def word(self, address, size=8):
        return int.from_bytes(self.read(address, size), "little")

    def object(self, kind, address):
        return Object(self, kind, address, self.read(address, self.number[kind]))

    def variable(self, name, kind):
        return self.object(kind, self.address[name])


class Object:
    """A copy of an object, whose members are found by their names; `of` of the copy may be a part of a larger one."""

    def __init__(self, memory, kind, address, data):
        self.memory, self.kind, self.address, self.data = memory, kind, address, data

    def offset(self, member):
        try:
            return self.memory.number[f"{self.kind}.{member}"]
        except KeyError:
            raise Failed(f"the library there does not say where {self.kind}.{member} is", 1) from None

    def __call__(self, member, index=0, signed=False):
        """The number that a member is, or an element of one that is an array."""
        size = self.memory.element[f"{self.kind}.{member}"]
        at = self.offset(member) + index * size
        return int.from_bytes(self.data[at:at + size], "little", signed=signed)

    def inside(self, member, kind, index=0):
        """The object that a member, or an element of one, is."""
        size = self.memory.number.get(kind, 0) or self.memory.element[f"{self.kind}.{member}"]
        at = self.offset(member) + index * size
        return Object(self.memory, kind, self.address + at, self.data[at:at + size])

    def text(self, member):
        at = self.offset(member)
        return self.data[at:at + 64].split(b"\0")[0].decode(errors="replace")
