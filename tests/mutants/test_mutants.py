"""The lists of mistakes fit the code (mistakes.py). Whether tests notice them is what tests/mutants/run finds out.

Always holds: reads files alone, and takes a second at the most.
"""
import collections

import mistakes as lists
import pytest

ALL = lists.mistakes()


@pytest.mark.parametrize("mistake", ALL, ids=lambda mistake: mistake.name)
def test_a_mistake_fits_the_code(mistake):
    assert mistake.wrong_entry() is None


def test_there_are_enough_of_different_names():
    assert len(ALL) >= 60
    assert len({mistake.name for mistake in ALL}) == len(ALL)
    assert len({(mistake.file, mistake.original, mistake.replacement) for mistake in ALL}) == len(ALL)


def test_they_are_spread_over_all_folders():
    files = collections.Counter(mistake.file for mistake in ALL)
    assert [file for file, count in files.items() if count > lists.MOST_OF_A_FILE] == []
    folders = {path.parent for folder in lists.FOLDERS for path in (lists.ROOT / folder).rglob("*.cc")}
    folders |= {path.parent for path in (lists.ROOT / "lib").rglob("*.h")}
    assert folders == {(lists.ROOT / file).parent for file in files}


def test_few_are_left_unnoticed():
    assert sum(bool(mistake.argued) for mistake in ALL) <= 3


@pytest.mark.parametrize("changes, said", [
    ({"original": "no such line"}, "0 times"), ({"original": "\n"}, "0 times"), ({"original": "namespace poolalloc"}, " times in"),
    ({"replacement": ALL[0].original}, "its replacement"), ({"file": "tests/conftest.py"}, "no file of the library"),
    ({"why": ""}, "why"), ({"noticed_by": (), "argued": ""}, "no test")])
def test_what_does_not_fit_is_said(changes, said):
    assert said in lists.dataclasses.replace(ALL[0], **changes).wrong_entry()
