"""A profile in pprof's format (gzip around a protocol buffer, github.com/google/pprof, proto/profile.proto), read.

Always holds: what is no such file is Failed; fields that are not known are passed over.
"""
import dataclasses
import gzip
import pathlib
import zlib

from .places import Failed

# Fields of profile.proto.
SAMPLE_TYPE, SAMPLE, MAPPING, LOCATION, STRING, DURATION, PERIOD, COMMENT = 1, 2, 3, 4, 6, 10, 12, 13


@dataclasses.dataclass
class Mapping:
    start: int
    end: int
    offset: int
    path: str


@dataclasses.dataclass
class Sample:
    stack: tuple  # addresses of calls, the innermost first
    values: dict  # by the name of the sample type


@dataclasses.dataclass
class Profile:
    types: list
    samples: list
    mappings: list
    program: str
    interval: int
    seconds: float
    notes: list

    def total(self, name):
        return sum(sample.values[name] for sample in self.samples)

    def minus(self, earlier):
        """What has come since, of what was allocated; the rest is as it is now."""
        before = {sample.stack: sample.values for sample in earlier.samples}
        samples = []
        for sample in self.samples:
            old = before.get(sample.stack, {})
            values = {name: value - old.get(name, 0) if name.startswith("alloc_") else value
                      for name, value in sample.values.items()}
            samples.append(Sample(sample.stack, values))
        return dataclasses.replace(self, samples=samples, seconds=self.seconds - earlier.seconds)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """(number, value) of each field of a message; a value is a number or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            size, at = varint(data, at)
            value = data[at:at + size]
            at += size
        else:
            raise ValueError("a field of another kind")
        yield key >> 3, value


def numbers(value):
    """Of a repeated number, packed or one of them."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        one, at = varint(value, at)
        found.append(one)
    return found


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def parse(data):
    strings, types, samples, mappings, locations, notes = [], [], [], [], {}, []
    interval = duration = 0
    for number, value in fields(data):
        if number == STRING:
            strings.append(value.decode(errors="replace"))
        elif number == SAMPLE_TYPE:
            types.append(dict(fields(value)).get(1, 0))
        elif number == SAMPLE:
            ids, values = [], []
            for inner, content in fields(value):
                if inner == 1:
                    ids += numbers(content)
                elif inner == 2:
                    values += map(signed, numbers(content))
            samples.append((ids, values))
        elif number == MAPPING:
            mappings.append(dict(fields(value)))
        elif number == LOCATION:
            location = dict(fields(value))
            locations[location[1]] = location.get(3, 0)
        elif number == DURATION:
            duration = value
        elif number == PERIOD:
            interval = value
        elif number == COMMENT:
            notes.append(value)
    types = [strings[name] for name in types]
    if not types:
        raise ValueError("no types of samples")
    notes = [strings[note] for note in notes]
    return Profile(types,
                   [Sample(tuple(locations[each] for each in ids), dict(zip(types, values))) for ids, values in samples],
                   [Mapping(each.get(2, 0), each.get(3, 0), each.get(4, 0), strings[each.get(5, 0)]) for each in mappings],
                   notes[0] if notes else "", interval, duration / 1e9, notes[1:])


def parse_file(data, name="what the process has written"):
    """Of a file's bytes."""
    try:
        return parse(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, TypeError, LookupError, EOFError, OSError, zlib.error):
        raise Failed(f"{name} is no profile", 1) from None


def read(path):
    try:
        return parse_file(pathlib.Path(path).read_bytes(), path)
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}", 1) from None
