"""What a profile says: by stacks, by functions, and as a picture.

Always holds: what is largest comes first; sums are of all samples, also of those that are not shown.
"""
import collections
import dataclasses
import html
import re
import zlib

from .amounts import share, size_text, table_lines

MEANING = {"alloc": "allocated in all", "inuse": "in use", "peak": "in use when most was", "lost": "that nothing points to"}


@dataclasses.dataclass
class Stack:
    frames: list  # the innermost first
    blocks: int
    bytes: int


# Where the library is a part of the program its own functions are on the stack, above who has called it.
OWN = re.compile(r"poolalloc::|(operator (new|delete)|malloc|calloc|realloc|reallocarray|memalign|aligned_alloc|posix_memalign|"
                 r"p?valloc|__libc_\w*alloc|__libc_memalign)\b")


def without_own(frames):
    first = next((i for i, frame in enumerate(frames) if not OWN.match(frame.function)), 0)
    return frames[first:]


def stacks(profile, names, by):
    """The stacks that have any, those with the same functions together."""
    sums = collections.defaultdict(lambda: [0, 0])
    for sample in profile.samples:
        blocks, size = sample.values.get(f"{by}_objects", 0), sample.values.get(f"{by}_space", 0)
        if blocks > 0 or size > 0:
            frames = tuple(without_own([frame for address in sample.stack for frame in names[address]]))
            sums[frames][0] += blocks
            sums[frames][1] += size
    found = [Stack(list(frames), *sum) for frames, sum in sums.items()]
    return sorted(found, key=lambda stack: (-stack.bytes, -stack.blocks, list(map(str, stack.frames))))


def amount(blocks, size):
    return f"{size_text(size)} in {blocks} block{'' if blocks == 1 else 's'}"


def total_of(found):
    return sum(stack.blocks for stack in found), sum(stack.bytes for stack in found)


def stack_lines(found, most, indent=""):
    """The largest stacks, a line for each function."""
    _, whole = total_of(found)
    lines = []
    for stack in found[:most]:
        lines.append(f"{indent}{amount(stack.blocks, stack.bytes)} ({share(stack.bytes, whole)}), allocated by")
        lines += [f"{indent}  #{i} {frame}" for i, frame in enumerate(stack.frames)]
    if len(found) > most:
        rest = total_of(found[most:])
        lines.append(f"{indent}and {amount(*rest)} by {len(found) - most} other stacks")
    return lines


def function_lines(found, most):
    """The functions that have allocated most, by themselves (flat) and with what they called (cum)."""
    flat, cumulated = collections.Counter(), collections.Counter()
    for stack in found:
        functions = [frame.function for frame in stack.frames] or ["?"]
        flat[functions[0]] += stack.bytes
        for function in set(functions):
            cumulated[function] += stack.bytes
    _, whole = total_of(found)
    order = sorted(cumulated, key=lambda function: (-flat[function], -cumulated[function], function))
    rows = [[size_text(flat[each]), share(flat[each], whole), size_text(cumulated[each]), share(cumulated[each], whole), each]
            for each in order[:most]]
    return table_lines(["flat", "", "cum", "", "function"], rows)


# --- The picture ------------------------------------------------------------------------------------------------

WIDTH, ROW, FONT, LEAST = 1200, 18, 12, 0.3


@dataclasses.dataclass
class Box:
    name: str
    bytes: int = 0
    blocks: int = 0
    inside: dict = dataclasses.field(default_factory=dict)

    def depth(self):
        return 1 + max((box.depth() for box in self.inside.values()), default=0)


def boxes(found):
    """The functions, each with those that it has called inside."""
    whole = Box("all")
    for stack in found:
        at = whole
        for frame in [None, *reversed(stack.frames)]:
            if frame is not None:
                at = at.inside.setdefault(frame.function, Box(frame.function))
            at.bytes += stack.bytes
            at.blocks += stack.blocks
    return whole


def color_of(name):
    value = zlib.crc32(name.encode())
    return f"rgb({205 + value % 50},{90 + value // 50 % 110},{40 + value // 5500 % 40})"


def flame_graph(found, title):
    """An SVG: each box is a function, as wide as what was allocated under it, below those that it has called."""
    whole = boxes(found)
    height = (whole.depth() + 3) * ROW
    parts = []

    def draw(box, left, width, level):
        if width < LEAST:
            return
        top = height - (level + 2) * ROW
        label = html.escape(box.name)
        parts.append(f'<g><title>{label}: {amount(box.blocks, box.bytes)}, {share(box.bytes, whole.bytes)}</title>'
                     f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 1}" rx="2" '
                     f'fill="{color_of(box.name)}"/>')
        fits = int((width - 6) / (FONT * 0.6))
        if fits >= 3:
            text = box.name if len(box.name) <= fits else box.name[:fits - 1] + "…"
            parts.append(f'<text x="{left + 3:.1f}" y="{top + ROW - 5}">{html.escape(text)}</text>')
        parts.append("</g>")
        for inner in sorted(box.inside.values(), key=lambda each: (-each.bytes, each.name)):
            inner_width = width * inner.bytes / box.bytes if box.bytes else 0
            draw(inner, left, inner_width, level + 1)
            left += inner_width
    draw(whole, 0, WIDTH, 0)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            f'font-family="monospace" font-size="{FONT}"><rect width="100%" height="100%" fill="#fffdf5"/>'
            f'<text x="{WIDTH / 2}" y="{ROW}" text-anchor="middle" font-size="15" font-family="sans-serif">'
            f'{html.escape(title)}</text>{"".join(parts)}</svg>\n')
