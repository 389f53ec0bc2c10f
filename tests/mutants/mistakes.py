"""The mistakes that the tests are to notice: read from the lists beside this file, one for each layer, and judged.

A list is TOML, a table [[mistake]] for each:

  name         what it is known by
  file         the file it is made in, from the project's folder on
  original     text of that file, which stands there exactly once
  replacement  what stands there instead; by itself it compiles
  why          one sentence: what is wrong then
  noticed_by   the tests that must notice it, the quickest first; one is enough:
                 "large_test Large.Calloc*"        a program of the build's tests, with a filter of GoogleTest's
                 "stress-core 2 4 1"               any other program of these, with its arguments
                 "tests/death/test_guard.py -k X"  tests of pytest
                 "model-lists late_pop"            the code is not what the models mirror any more, and the model breaks a
                                                   law when it makes the same mistake: for what this processor hides
  argued       only where no test can notice it, or none should: why

Always holds: a list that does not fit the code is an error, so that no mistake gets lost when the code changes.
"""
import dataclasses
import pathlib
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDERS = ("lib", "interpose")
MOST_OF_A_FILE = 3


@dataclasses.dataclass(frozen=True)
class Mistake:
    name: str
    file: str
    original: str
    replacement: str
    why: str
    noticed_by: tuple
    argued: str = ""

    def made_in(self, text):
        """The file's text with the mistake in it."""
        return text.replace(self.original, self.replacement)

    def wrong_entry(self, root=ROOT):
        """What is wrong with the entry itself; None: nothing is."""
        path = root / self.file
        if self.file.split("/")[0] not in FOLDERS or not path.is_file():
            return f"{self.file} is no file of the library"
        count = path.read_text().count(self.original) if self.original.strip() else 0
        if count != 1:
            return f"its original stands {count} times in {self.file}, not once"
        if self.replacement.split() == self.original.split():
            return "its replacement is its original"
        if not self.why.strip().endswith("."):
            return "it does not say why in a sentence"
        if not self.noticed_by and not self.argued:
            return "no test is named that is to notice it, and no reason why there is none"
        return None


def mistakes():
    """All of them, list by list."""
    found = []
    for path in sorted(HERE.glob("*.toml")):
        for table in tomllib.loads(path.read_text())["mistake"]:
            found.append(Mistake(**{**table, "noticed_by": tuple(table.get("noticed_by", ()))}))
    return found
