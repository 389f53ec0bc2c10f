"""What follows from the samples: medians, spreads, ratios, geometric means.

Always holds: a program that failed once under an allocator has no figure under it; a geometric mean is over
the programs in which every allocator that has any figure has one, so that means can be compared; the best
peer is the best of all allocators but this project's, on each program anew.
"""
import math
import random
import statistics

RESAMPLES = 1000


def geometric_mean(values):
    values = list(values)
    if not values or min(values) <= 0:
        return None
    return math.exp(statistics.fmean(map(math.log, values)))


class Results:
    def __init__(self, samples):
        self.samples = samples  # by program, by allocator: a list of figures or {"error": reason}
        self.allocators = list(next(iter(samples.values()), {}))

    def values(self, program, allocator, key):
        """All figures, or none if a run failed."""
        samples = self.samples[program][allocator]
        return [sample[key] for sample in samples] if all(key in sample for sample in samples) else []

    def median(self, program, allocator, key):
        values = self.values(program, allocator, key)
        return statistics.median(values) if values else None

    def spread(self, program, allocator, key):
        """(largest - smallest) / median; nothing for a single run."""
        values = self.values(program, allocator, key)
        middle = statistics.median(values) if len(values) > 1 else 0
        return (max(values) - min(values)) / middle if middle else None

    def ratio(self, program, allocator, key, base):
        value, reference = self.median(program, allocator, key), self.median(program, base, key)
        return value / reference if value is not None and reference else None

    def paired(self, program, allocator, key, base):
        """(median, least, most) of the ratios pair by pair: of the runs in the same round, which share the machine's mood.
        Least and most are of nine tenths of the medians that rounds drawn anew would have had (bootstrap). None without
        pairs."""
        pairs = list(zip(self.values(program, allocator, key), self.values(program, base, key)))
        ratios = [value / reference for value, reference in pairs if reference]
        if not ratios:
            return None
        draw = random.Random(0)
        medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
        tail = RESAMPLES // 20
        return statistics.median(ratios), medians[tail], medians[-1 - tail]

    def best_peer(self, program, key, peers, most=False):
        """The peer with the least (or most) of something on this program."""
        figures = {peer: self.median(program, peer, key) for peer in peers}
        figures = {peer: value for peer, value in figures.items() if value is not None}
        return (max if most else min)(figures, key=figures.get) if figures else None

    def complete(self, key, programs):
        """The programs in which every allocator that has any figure has one."""
        able = [name for name in self.allocators if any(self.values(p, name, key) for p in programs)]
        return [p for p in programs if able and all(self.median(p, name, key) for name in able)]

    def mean_ratio(self, allocator, key, base, programs):
        """The geometric mean of the ratios to the base."""
        ratios = [self.ratio(p, allocator, key, base) for p in self.complete(key, programs)]
        return geometric_mean(ratios) if ratios and None not in ratios else None

    def mean_ratio_to_best(self, allocator, key, peers, programs):
        """The geometric mean of the ratios to each program's best peer."""
        best = {p: self.best_peer(p, key, peers) for p in self.complete(key, programs)}
        ratios = [self.ratio(p, allocator, key, peer) for p, peer in best.items() if peer]
        return geometric_mean(ratios) if ratios and None not in ratios else None

    def total(self, allocator, key, programs):
        """The sum of the medians over the complete programs."""
        medians = [self.median(p, allocator, key) for p in self.complete("time", programs)]
        return sum(medians) if medians and None not in medians else None

    def failures(self):
        """(program, allocator, reason, how often)"""
        for program, by_allocator in self.samples.items():
            for allocator, samples in by_allocator.items():
                reasons = [sample["error"] for sample in samples if "error" in sample]
                if reasons:
                    yield program, allocator, reasons[0], len(reasons)

    def summary(self, base, peers, keys):
        """Medians, spreads and ratios of everything, as JSON wants them."""
        def figures(program, allocator, key):
            best = self.best_peer(program, key, peers)
            return {"median": self.median(program, allocator, key), "spread": self.spread(program, allocator, key),
                    "to_base": self.ratio(program, allocator, key, base),
                    "paired": self.paired(program, allocator, key, base),
                    "to_best_peer": self.ratio(program, allocator, key, best) if best else None}
        return {program: {allocator: {key: figures(program, allocator, key) for key in keys
                                      if self.values(program, allocator, key)}
                          for allocator in self.allocators} for program in self.samples}
