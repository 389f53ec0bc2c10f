"""Shows how far the runs are: a bar on a terminal, a line for each program elsewhere.

Always holds: it writes to stderr only, so that standard output has nothing but results.
"""
import sys


class Lines:
    """For logs: a line per program and round."""

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.shown = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self, where, program, _allocator):
        if (where, program) != self.shown:
            self.shown = (where, program)
            print(f"{where}  {program}  ({self.done} of {self.total} runs done)", file=sys.stderr, flush=True)

    def finish(self, program, allocator, error):
        self.done += 1
        if error:
            print(f"bench: {program} under {allocator}: {error}", file=sys.stderr, flush=True)


class Bar:
    """For people: where it is, how far, how much longer."""

    def __init__(self, total):
        from rich import console, progress
        self.progress = progress.Progress(
            progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(), progress.TextColumn("left"), progress.TimeRemainingColumn(),
            console=console.Console(stderr=True))
        self.task = self.progress.add_task("starting", total=total)

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.progress.stop()

    def start(self, where, program, allocator):
        self.progress.update(self.task, description=f"{where} {program:<20} {allocator:<12}")

    def finish(self, program, allocator, error):
        self.progress.advance(self.task)
        if error:
            self.progress.console.print(f"bench: {program} under {allocator}: {error}", markup=False, highlight=False)


def progress(total):
    return Bar(total) if sys.stderr.isatty() else Lines(total)
