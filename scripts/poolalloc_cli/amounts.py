"""How amounts are written: bytes, seconds, and tables of them.

Always holds: figures are aligned to the right, texts to the left; nothing is coloured where standard output is no
terminal.
"""


def size_text(count):
    """Bytes in the largest unit that leaves at least one digit before the point."""
    if count >= (1 << 64) - 1:
        return "unlimited"
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


BARS = "▁▂▃▄▅▆▇█"


def bar(part):
    """A bar as high as a part of 1."""
    return BARS[min(int(part * len(BARS)), len(BARS) - 1)]


def share(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def time_text(seconds):
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"


def table_lines(headings, rows):
    """Lines of a table; the last column is text, the others are figures."""
    cells = [headings, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row[:-1], widths)) + "  " + row[-1] for row in cells]
