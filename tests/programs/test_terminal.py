"""tmux and man.

What always holds: a terminal server that runs with the library draws the same
screen as one without it, and man formats the same page, with its system call
filter switched on.
"""

import pathlib
import re

import pytest


class Terminal:
    """A detached tmux server with a shell, on a socket of its own."""

    def __init__(self, programs, sock, preload):
        self.programs, self.sock, self.preload = programs, sock, preload

    def __call__(self, *command, **kw):
        return self.programs.run(["tmux", "-f", "/dev/null", "-S", self.sock, *command], self.preload, **kw).out

    def type(self, line):
        self("send-keys", "-l", line)
        self("send-keys", "Enter")


def screens(programs, sock, preload, wait_until):
    """What a tmux server shows after some typing."""
    tmux = Terminal(programs, sock, preload)
    tmux("new-session", "-d", "-n", "first", "-x", "90", "-y", "30", "env", "PS1=$ ", "bash", "--norc", "--noprofile")
    tmux("set-option", "-g", "history-limit", "5000")
    if preload:
        programs.assert_mapped_in_all(int(tmux("display-message", "-p", "#{pid}")), least=2)
    wait_until(lambda: "$" in tmux("capture-pane", "-p"), "the prompt")
    tmux.type("seq 1 3000; printf '\\033[31mred\\033[0m \\342\\202\\254\\n'; echo all-\"done\"")
    wait_until(lambda: "\nall-done\n$" in tmux("capture-pane", "-p"), "the end of the output")
    seen = [tmux("capture-pane", "-p", "-e"), tmux("capture-pane", "-p", "-S", "-1500")]
    for n in range(5):
        tmux("split-window", "-d", f"yes pane{n} | head -2000; exec sleep 100")
        tmux("select-layout", "tiled")
    for n in range(20):
        tmux("new-window", "-d", "-n", f"w{n}", "exec sleep 100")
    tmux("load-buffer", "-", stdin="text " * 5000)
    tmux("resize-window", "-x", "60", "-y", "20")
    seen += [tmux("list-windows", "-F", "#{window_index} #{window_name} #{window_panes}"),
             str(len(tmux("show-buffer")))]
    server = int(tmux("display-message", "-p", "#{pid}"))
    tmux("kill-server")
    wait_until(lambda: ended(server), "the server to end")
    assert "no server running" in programs.run(["tmux", "-S", sock, "ls"], preload, status=1).err
    return seen


def ended(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_tmux_session_shows_the_same_screen(programs, short_dir, wait_until):  # COMPAT 66
    plain, preloaded = (screens(programs, short_dir / f"s{int(p)}", p, wait_until) for p in (False, True))
    assert plain == preloaded
    assert "red" in plain[0] and "2999" in plain[1] and plain[3] == "25000"


PAGE = r""".TH DEMO 1 2020-01-01 demo "User Commands"
.SH NAME
demo \- a page with a table
.SH SYNOPSIS
.B demo
[\fIOPTION\fR]... \(em \[Eu]
.SH DESCRIPTION
.TS
tab(:) allbox;
l r.
one:1
two:22
.TE
""" + "".join(f".TP\n\\fB\\-\\-option{n}\\fR=\\fIVALUE\\fR\n" + f"Does thing {n} with many words. " * 9 + "\n"
              for n in range(300))


@pytest.mark.parametrize("device", ["utf8", "ascii", "ps"])
def test_man_formats_the_same_page(programs, device):
    page = programs.tmp / "demo.1"
    page.write_text(PAGE)
    result = programs.same(["man", "-t" if device == "ps" else "-T" + device, "-l", page],
                           env={"MANWIDTH": "78", "MANPAGER": "cat"},
                           clean=lambda text: "".join(l for l in text.splitlines(True) if "CreationDate" not in l))
    assert len(result.out) > 10000
    assert device == "ps" or "--option299" in re.sub(".\b", "", result.out)  # bold is overstruck
