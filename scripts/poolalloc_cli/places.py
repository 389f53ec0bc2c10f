"""Where the library and what belongs to it are: in a checkout, or where it is installed. The shell script that starts
this package says so in the environment.

Always holds: USAGE_STATUS is the exit status of what is wrong with the call itself, which no program that is run can be
taken for (as of env and nohup).
"""
import os
import pathlib
import re
import subprocess
import sys

USAGE_STATUS = 125


class Failed(Exception):
    """What is wrong, in one line, and the exit status that says so."""

    def __init__(self, text, status=USAGE_STATUS):
        super().__init__(text)
        self.status = status


def setting(name):
    value = os.environ.get(f"POOLALLOC_TOOL_{name}")
    if not value:
        raise Failed("start this by `poolalloc`")
    return value


def library():
    """The path of the library; LD_PRELOAD splits at spaces and colons, so it has none."""
    return setting("LIBRARY")


def secure_library():
    return str(pathlib.Path(library()).with_name("libpoolalloc-secure.so"))


def checkout():
    """The folder of the sources; None where the library is installed."""
    root = pathlib.Path(os.environ.get("POOLALLOC_TOOL_ROOT") or "/nowhere")
    return root if (root / "meson.build").exists() else None


def options_table():
    """(name, when it can be set, default, values, meaning) of every option."""
    text = pathlib.Path(setting("OPTIONS")).read_text()
    return re.findall(r'^OPTION\((\w+), (\w+), "([^"]*)", "([^"]*)", "(.*)"\)$', text, re.M)


def version():
    header = pathlib.Path(setting("HEADER")).read_text()
    return ".".join(re.search(rf"POOLALLOC_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH"))


def need(module, package):
    """Imports a module that a Debian package brings, which is installed if it is missing."""
    try:
        return __import__(module)
    except ImportError:
        pass
    installer = setting("INSTALLER")
    result = subprocess.run(["bash", "-c", f'. "{installer}" && install_packages "{package}"'], stdout=sys.stderr)
    if result.returncode != 0:
        raise Failed(f"this needs the package {package}")
    return __import__(module)
