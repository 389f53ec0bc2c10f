"""`poolalloc profile` and the reports of `poolalloc run --profile` and `--leaks`.

Always holds: a process that is asked for its profile writes a file of its own, which is read and removed; whether it
samples afterwards is as it was before.
"""
import dataclasses
import errno
import os
import pathlib
import secrets
import signal
import sys
import time

from . import pprof, report
from .amounts import size_text
from .places import Failed
from .process import find_process
from .symbols import frames_of

DEFAULT_SECONDS = 10


def parse_size(text):
    units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = text.rstrip("KMGkmg"), text[len(text.rstrip("KMGkmg")):].upper()
    try:
        size = int(number) * units[unit]
    except (ValueError, KeyError):
        raise Failed(f"profile: {text} is no size, as 512K or 1M") from None
    if not 1 <= size < 1 << 62:
        raise Failed(f"profile: {text} is no size, as 512K or 1M")
    return size


# --- From a process ---------------------------------------------------------------------------------------------

def interrupt(number, frame):
    raise KeyboardInterrupt


def sleep(seconds):
    """Until then, or Ctrl-C, or another signal that asks for the end: the process is left as it was."""
    try:
        for number in signal.SIGTERM, signal.SIGHUP:
            signal.signal(number, interrupt)
        time.sleep(seconds)
    except KeyboardInterrupt:
        print(file=sys.stderr)


def taken(process, **request):
    """Asks the process for its profile, and more; what it has written."""
    name = f"/tmp/poolalloc-{process.pid}-{secrets.token_hex(8)}.pb.gz"
    outside = pathlib.Path(f"{process.folder}/root{name}")
    try:
        error = process.ask_profile(path=name, **request)
        if error == errno.EIO:
            raise Failed(f"process {process.pid} cannot write to {name}", 1)
        if error != 0:
            raise Failed(f"process {process.pid}: {os.strerror(error)}", 1)
        return outside.read_bytes()
    except OSError as failure:
        raise Failed(f"{outside}: {failure.strerror}", 1) from None
    finally:
        try:
            outside.unlink(missing_ok=True)
        except OSError:
            pass


def from_process(process, seconds, interval):
    """(the profile, its file's bytes): of what goes on now, or of some seconds."""
    if process.profile_is_on():
        if seconds is None:
            data = taken(process)
            return pprof.parse_file(data), data
        before = pprof.parse_file(taken(process))
        sleep(seconds)
        data = taken(process)
        return pprof.parse_file(data).minus(before), data
    error = process.ask_profile(interval=interval)
    if error != 0:
        raise Failed(f"process {process.pid}: {os.strerror(error)}", 1)
    try:
        sleep(DEFAULT_SECONDS if seconds is None else seconds)
    finally:
        data = taken(process, stops=True)
    return pprof.parse_file(data), data


# --- Reports ----------------------------------------------------------------------------------------------------

def title_of(profile, by, found):
    blocks, size = report.total_of(found)
    accuracy = "each block counted" if profile.interval == 1 else f"a sample for each {size_text(profile.interval)}"
    return f"{profile.program}: {report.amount(blocks, size)} {report.MEANING[by]} ({profile.seconds:.1f} s; {accuracy})"


def write(path, data):
    try:
        pathlib.Path(path).write_bytes(data)
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}", 1) from None


def profile(target, seconds, interval, by, top, svg, output):
    path, bytes_between, root = pathlib.Path(target), parse_size(interval), ""
    if seconds is not None and not 0 <= seconds < 1e8:
        raise Failed(f"profile: {seconds:g} is no number of seconds")
    if "/" in target or path.is_file():
        data = None
        found = pprof.read(path)
    else:
        process = find_process(target)
        found, data = from_process(process, seconds, bytes_between)
        root = f"{process.folder}/root"
    if f"{by}_space" not in found.types:
        raise Failed("profile: nobody has looked for what nothing points to; `poolalloc run --leaks` does", 1)
    names = frames_of(found, root)
    stacks = report.stacks(found, names, by)
    title = title_of(found, by, stacks)
    if output and data is not None:
        write(output, data)
    if svg:
        write(svg, report.flame_graph(stacks, title).encode())
    print(title)
    for note in found.notes:
        print(f"({note})")
    lines = report.stack_lines(stacks, 10) if top is None else report.function_lines(stacks, top)
    print("\n".join(lines))
    return 0


def leak_lines(profile, process):
    """Of a process at its end; and whether it has lost blocks."""
    names = frames_of(profile)
    lost = report.stacks(profile, names, "lost")
    if "lost_space" not in profile.types:
        return [f"process {process} ({profile.program}) has not come to its end: nobody has looked for leaks"], False
    live = report.stacks(kept(profile), names, "inuse")
    lines = [f"leaks of process {process} ({profile.program}): {report.amount(*report.total_of(lost))} that nothing points to"]
    lines += report.stack_lines(lost, 20, "  ")
    lines.append(f"still in use at its end, and something points there: {report.amount(*report.total_of(live))}")
    lines += report.stack_lines(live, 3, "  ")
    lines += profile.notes
    return lines, bool(lost)


def end_lines(path):
    """Of a file that a process has left at its end, or at its last peak."""
    found = pprof.read(path)
    peak = report.stacks(found, frames_of(found), "peak")
    return [title_of(found, "peak", peak), *report.stack_lines(peak, 3, "  "),
            f"all of it: poolalloc profile {path}; also pprof reads that file"]


def kept(profile):
    """The profile with what is in use but not lost as what is in use."""
    samples = [pprof.Sample(sample.stack, {f"inuse_{what}": sample.values[f"inuse_{what}"] - sample.values[f"lost_{what}"]
                                           for what in ("objects", "space")}) for sample in profile.samples]
    return dataclasses.replace(profile, samples=samples)
