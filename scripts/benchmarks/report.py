"""Results for people: tables on the terminal, and a Markdown table for a README.

Always holds: less is better unless a title says otherwise; every figure is a median with its spread; what
failed says so in its cell; the best of a row is bold, the base included.
"""
import sys

FAILED = "failed"
TITLES = {"time": ("time, seconds", 1, "{:.3f}"), "cpu": ("processor time, seconds", 1, "{:.3f}"), "rss_kib": ("peak resident memory, MiB", 1 / 1024, "{:.1f}"),
          "rate": ("throughput, million operations per second (more is better)", 1e-6, "{:.2f}")}


def console():
    from rich.console import Console
    return Console(width=None if sys.stdout.isatty() else 220, highlight=False)


def new_table(title, first, names):
    from rich import box
    from rich.table import Table
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    return table


def ratio_text(ratio):
    return "-" if ratio is None else f"{ratio:.2f}"


def bold(text):
    return f"[bold]{text}[/bold]"


def figures_table(results, programs, key, base, peers, wide):
    """One row per program: median, spread and ratio to the base; ours against the program's best peer."""
    title, scale, digits = TITLES[key]
    more = key == "rate"
    ours = [name for name in results.allocators if name not in peers][0]
    last = f"{ours} / best peer"
    table = new_table(f"{title}: median, spread, ratio to {base}", "program", [*results.allocators, last])
    gap = " " if wide else "\n"
    for program in programs:
        medians = {name: results.median(program, name, key) for name in results.allocators}
        known = [value for value in medians.values() if value is not None]
        best = (max if more else min)(known) if known else None
        cells = []
        for name, value in medians.items():
            if value is None:
                cells.append(f"[red]{FAILED}[/red]")
                continue
            text = digits.format(value * scale)
            ratio = ratio_text(results.ratio(program, name, key, base))
            spread = results.spread(program, name, key)
            spread = "" if spread is None else f" ±{spread * 100:.0f}%"
            cells.append(f"{bold(text) if value == best else text}{spread}{gap}({ratio})")
        peer = results.best_peer(program, key, peers, more)
        cells.append(f"{ratio_text(results.ratio(program, ours, key, peer))}{gap}{peer}" if peer else "-")
        table.add_row(program, *cells)
    return table


def pairs_table(results, programs, key, base):
    """One row per program: what the runs of the same round say, one by one; where the interval has no 1 in it, they differ."""
    title = TITLES[key][0].split(",")[0]
    names = [name for name in results.allocators if name != base]
    table = new_table(f"{title} / {base}, pair by pair: median of the ratios, and where nine of ten medians lie", "program", names)
    for program in programs:
        cells = []
        for name in names:
            found = results.paired(program, name, key, base)
            cells.append("-" if found is None else f"{found[0]:.3f} ({found[1]:.2f}-{found[2]:.2f})")
        table.add_row(program, *cells)
    return table


def summary_table(results, programs, base, peers):
    """One row per allocator: geometric means and totals."""
    title = (f"all in all, over {len(results.complete('time', programs))} of {len(programs)} programs: "
             "geometric means of ratios, sums of medians")
    columns = [f"time / {base}", "time / best peer", f"memory / {base}", "memory / best peer",
               f"processor time / {base}", "system time, s", "page faults, million"]
    table = new_table(title, "allocator", columns)
    for name in results.allocators:
        system, faults = results.total(name, "system", programs), results.total(name, "faults", programs)
        table.add_row(name,
                      ratio_text(results.mean_ratio(name, "time", base, programs)),
                      ratio_text(results.mean_ratio_to_best(name, "time", peers, programs)),
                      ratio_text(results.mean_ratio(name, "rss_kib", base, programs)),
                      ratio_text(results.mean_ratio_to_best(name, "rss_kib", peers, programs)),
                      ratio_text(results.mean_ratio(name, "cpu", base, programs)),
                      "-" if system is None else f"{system:.2f}", "-" if faults is None else f"{faults / 1e6:.2f}")
    return table


def program_list(pairs):
    """Names and what they stand for."""
    table = new_table(None, "program", [])
    table.add_column("stands for", justify="left")
    for name, sentence in pairs:
        table.add_row(name, sentence)
    return table


def split(results, programs):
    """Names of programs whose figure is time, and of those whose figure is throughput."""
    threaded = {program.name for program in programs if program.threads}
    return ([name for name in results.samples if name not in threaded],
            [name for name in results.samples if name in threaded])


def print_report(results, programs, base, peers):
    out = console()
    wide = out.width >= 30 + 22 * (len(results.allocators) + 1)
    timed, threaded = split(results, programs)
    sentences = {program.name.partition("@")[0]: program.stands_for for program in programs}
    out.print(program_list(sentences.items()))
    if timed:
        for key in "time", "cpu":
            out.print(figures_table(results, timed, key, base, peers, wide))
        for key in "time", "cpu":
            out.print(pairs_table(results, timed, key, base))
        out.print(figures_table(results, timed, "rss_kib", base, peers, wide))
        out.print(summary_table(results, timed, base, peers))
    if threaded:
        out.print(figures_table(results, threaded, "rate", base, peers, wide))
        out.print(figures_table(results, threaded, "rss_kib", base, peers, wide))


def markdown(results, programs, base):
    """The programs whose figure is time, as a Markdown table: "time / memory", each relative to the base."""
    timed, _ = split(results, programs)
    sentences = {program.name: program.stands_for for program in programs}
    names = [name for name in results.allocators if name != base]
    lines = ["| program | stands for | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]

    def row(ratios_of):
        """ratios_of(allocator, key), the base being 1; the best, as printed, in bold."""
        texts = {}
        for key in ("time", "rss_kib"):
            ratios = {name: ratios_of(name, key) for name in names}
            least = min([1.0, *(ratio for ratio in ratios.values() if ratio is not None)])
            texts[key] = {name: FAILED if ratio is None else
                          f"**{ratio:.2f}**" if f"{ratio:.2f}" == f"{least:.2f}" else f"{ratio:.2f}"
                          for name, ratio in ratios.items()}
        return " | ".join(FAILED if FAILED in (texts["time"][name], texts["rss_kib"][name]) else
                          f"{texts['time'][name]} / {texts['rss_kib'][name]}" for name in names)

    for program in timed:
        cells = row(lambda name, key: results.ratio(program, name, key, base))
        lines.append(f"| {program} | {sentences[program]} | {cells} |")
    means = row(lambda name, key: results.mean_ratio(name, key, base, timed))
    lines.append(f"| geometric mean | | {means} |")
    return "\n".join(lines)
