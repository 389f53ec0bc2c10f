"""What the command line of `poolalloc` takes.

Always holds: the man page is made from this parser, so what it says is what is there.
"""
import argparse

from . import places
from .places import Failed


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Failed(f"{self.prog.split(' ', 1)[-1]}: {message}" if " " in self.prog else message)


def parser():
    whole = Parser(prog="poolalloc", allow_abbrev=False,
                   description="Runs programs under libpoolalloc, and looks into them.",
                   epilog="`poolalloc run [--stats] [--profile] [--leaks] [--secure] PROGRAM [ARGUMENT...]` runs a program with every allocation "
                          "served by the library; `poolalloc path [--secure]` prints the library's path, for LD_PRELOAD.")
    whole.add_argument("--version", action="store_true", help="print the version")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name, text):
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        added.add_argument("--version", action="version", version=f"poolalloc {places.version()}")
        return added
    command("run", "run PROGRAM with every allocation served by the library")
    command("path", "print the path of the library, for LD_PRELOAD")
    check = command("check", "say whether the library serves PROGRAM, which is not run, or the process PID: exit status 0 if "
                             "it does, 1 if not, 2 if a part of the program stays outside")
    check.add_argument("target", metavar="PROGRAM|PID")
    stats = command("stats", "print the figures of a running process")
    stats.add_argument("target", metavar="PID|NAME")
    stats.add_argument("--json", action="store_true", help="as one JSON object")
    top = command("top", "watch the figures of a running process; q quits")
    top.add_argument("target", metavar="PID|NAME")
    top.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between two looks (1)")
    mapped = command("map", "print what the memory of a running process is used for, and draw its heap")
    mapped.add_argument("target", metavar="PID|NAME|PROGRAM")
    mapped.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGUMENT", help=argparse.SUPPRESS)
    mapped.add_argument("--exit", action="store_true", help="run PROGRAM with its arguments, and draw the heap as it is at its end")
    mapped.add_argument("--picture", metavar="FILE", help="draw the heap there, as an SVG, or as a PNG if it ends in .png, instead of "
                        "in the terminal")
    profile = command("profile", "print which functions have allocated what: of a running process, which is asked to sample "
                                 "its blocks for some seconds, or of a file that POOLALLOC_PROFILE has made")
    profile.add_argument("target", metavar="PID|NAME|FILE")
    profile.add_argument("--seconds", type=float, metavar="N", help="how long (10; where it samples already: not at all)")
    profile.add_argument("--interval", default="512K", metavar="SIZE", help="a sample for each so many bytes (512K)")
    profile.add_argument("--by", choices=["inuse", "alloc", "peak", "lost"], default="inuse",
                         help="what is in use (the default), all that was allocated, what was in use when most was, or what "
                              "nothing points to")
    profile.add_argument("--top", type=int, nargs="?", const=20, metavar="N", help="by functions, N (20) of them, instead of "
                                                                                "by stacks")
    profile.add_argument("--svg", metavar="OUT", help="also draw a flame graph")
    profile.add_argument("--output", "-o", metavar="OUT", help="also keep the process's profile, for pprof")
    leaks = command("leaks", "run PROGRAM, and say at its end which of its blocks nothing points to: the same as run --leaks")
    leaks.add_argument("words", nargs=argparse.REMAINDER, metavar="PROGRAM", help="and its arguments")
    trim = command("trim", "ask a running process to give free memory back")
    trim.add_argument("target", metavar="PID|NAME")
    trim.add_argument("--wait", type=float, default=3.0, metavar="SECONDS", help="for it to come by (3)")
    compare = command("compare", "run PROGRAM under glibc's allocator and the library in turn, and say what that gives")
    compare.add_argument("--rounds", type=int, default=5, metavar="N", help="how often (5)")
    compare.add_argument("--peers", action="store_true", help="also under every other allocator that is installed")
    compare.add_argument("words", nargs=argparse.REMAINDER, metavar="PROGRAM", help="and its arguments")
    bench = command("bench", "run the project's benchmarks: `scripts/bench` of a checkout")
    bench.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    command("options", "print the table of options")
    command("version", "print the version and where the library is")
    help_command = command("help", "print what there is, or the table of options")
    help_command.add_argument("topic", nargs="?", metavar="options|statistics|COMMAND")
    return whole, commands
