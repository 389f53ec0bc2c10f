"""Pictures of results: time and memory per program, throughput over threads.

Always holds: each is written as FILE.png and FILE.svg; time and memory are relative to the base on a
logarithmic scale, so that half and double are equally far from it; equal results give equal files.
"""
import math
import pathlib

from .report import split

MARKERS = "os^Dv<>Ph*Xp"
OURS_COLOUR = "#d62728"
FINE_TICKS = (0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5)
MEDIUM_TICKS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
COARSE_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
LEGEND_COLUMNS, LEGEND_ROW_INCHES = 8, 0.25
COLOURS = ("#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f", "#bcbd22")


def prepared():
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "poolalloc"
    from matplotlib import pyplot
    return pyplot


def stem(path):
    """FILE, FILE.png and FILE.svg mean the same two files."""
    return path[:-4] if path.endswith((".png", ".svg")) else path


def save(figure, path):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(f"{path}.png", dpi=120, metadata={"Software": None})
    figure.savefig(f"{path}.svg", metadata={"Date": None})


def styles(allocators):
    """A colour and marker for each allocator, ours always the same."""
    colours = iter(COLOURS * 4)
    return {name: {"color": OURS_COLOUR if name == "poolalloc" else next(colours), "marker": MARKERS[i % len(MARKERS)],
                   "zorder": 4 if name == "poolalloc" else 3} for i, name in enumerate(allocators)}


def plot_programs(results, names, base, path):
    pyplot = prepared()
    from matplotlib.ticker import NullLocator
    others = [name for name in results.allocators if name != base]
    style = styles(results.allocators)
    rows = [*names, "geometric mean"]
    height = 1.6 + 0.3 * len(rows)
    figure, axes = pyplot.subplots(1, 2, figsize=(11, height), sharey=True, layout="constrained")
    for axis, key, title in zip(axes, ("time", "rss_kib"), ("time", "peak resident memory")):
        for name in others:
            points = []
            for at, program in enumerate(names):
                reference, values = results.median(program, base, key), results.values(program, name, key)
                if reference and values:
                    points.append((results.ratio(program, name, key, base), at))
                    axis.plot([min(values) / reference, max(values) / reference], [at, at], color=style[name]["color"],
                              linewidth=1, zorder=2)
            mean = results.mean_ratio(name, key, base, names)
            if mean:
                points.append((mean, len(names)))
            axis.scatter([x for x, _ in points], [y for _, y in points], s=42 if name == "poolalloc" else 26,
                         label=name, alpha=0.9, **style[name])
        axis.set_xscale("log", base=2)
        low, high = axis.get_xlim()
        low, high = min(low, 0.9), max(high, 1.1)
        choice = FINE_TICKS if high / low < 4 else MEDIUM_TICKS if high / low < 10 else COARSE_TICKS
        ticks = [tick for tick in choice if low <= tick <= high]
        axis.set_xlim(low, high)
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.axvline(1, color="black", linewidth=0.8, zorder=1)
        axis.axhline(len(names) - 0.5, color="black", linewidth=0.5)
        axis.grid(axis="both", linewidth=0.3)
        axis.set_xlabel(f"{title} / {base} (less is better)")
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].invert_yaxis()
    # Above the axes, in room of its own: one axis's legend would make that axis as wide as itself.
    legend_inches = LEGEND_ROW_INCHES * (1 + math.ceil(len(others) / LEGEND_COLUMNS))
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - legend_inches / height))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncols=min(len(others), LEGEND_COLUMNS),
                  frameon=False)
    save(figure, path)
    pyplot.close(figure)


def plot_overview(results, names, base, path):
    """One dot for each allocator: the mean of time across, of memory up."""
    pyplot = prepared()
    figure, axis = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    style = styles(results.allocators)
    for name in results.allocators:
        time, memory = (results.mean_ratio(name, key, base, names) for key in ("time", "rss_kib"))
        if not time or not memory:
            continue
        is_ours = name == "poolalloc"
        axis.scatter([time], [memory], s=160 if is_ours else 70, color=style[name]["color"], zorder=3)
        axis.annotate(name, (time, memory), xytext=(9, -4), textcoords="offset points", color=style[name]["color"],
                      fontsize=13 if is_ours else 11, fontweight="bold" if is_ours else "normal")
    axis.set_title(f"time and memory of {len(names)} programs, geometric means", fontsize=11, loc="left")
    axis.set_xlabel(f"time / {base}, less is better")
    axis.set_ylabel(f"peak memory / {base},\nless is better")
    axis.margins(x=0.18, y=0.15)
    axis.grid(linewidth=0.3)
    for side in "top", "right":
        axis.spines[side].set_visible(False)
    save(figure, path)
    pyplot.close(figure)


def plot_threads(results, programs, path):
    pyplot = prepared()
    from matplotlib.ticker import FuncFormatter
    kinds = list(dict.fromkeys(program.name.partition("@")[0] for program in programs))
    style = styles(results.allocators)
    figure, axes = pyplot.subplots(1, len(kinds), figsize=(5.5 * len(kinds), 4.2), squeeze=False, layout="constrained")
    for axis, kind in zip(axes[0], kinds):
        points = [program for program in programs if program.name.partition("@")[0] == kind]
        for name in results.allocators:
            known = [(p.threads, results.median(p.name, name, "rate")) for p in points]
            known = [(threads, rate / 1e6) for threads, rate in known if rate is not None]
            axis.plot([x for x, _ in known], [y for _, y in known], label=name, **style[name])
        axis.set_xscale("log", base=2)
        axis.set_xticks([p.threads for p in points])
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_ylim(bottom=0)
        axis.grid(linewidth=0.3)
        axis.set_title(kind, fontsize=10)
        axis.set_xlabel("threads")
        axis.set_ylabel("million operations per second")
    axes[0][-1].legend(fontsize=8)
    save(figure, path)
    pyplot.close(figure)


def plot(results, programs, base, path):
    """The pictures that these results allow; their paths."""
    timed, threaded = split(results, programs)
    path, drawn = stem(path), []
    if timed and len(results.allocators) > 1:
        plot_programs(results, timed, base, path)
        plot_overview(results, timed, base, f"{path}-overview")
        drawn += [path, f"{path}-overview"]
    if threaded:
        plot_threads(results, [program for program in programs if program.threads], f"{path}-threads")
        drawn.append(f"{path}-threads")
    return drawn
