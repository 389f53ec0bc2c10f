"""Chromium and Firefox without a window.

Always holds: the page builds, sorts and drops thousands of elements, works in workers and on a canvas, and shows at the
end what only a page that did all of that right shows; its sums are known from a calculation in Python.
Both browsers define malloc and its family in their executables, for all libraries as well: the library is loaded into each
of their processes, and nobody calls it. What is tested is that it does not disturb them.
"""
import pathlib

from PIL import Image

from harness.job import DATA
from harness.registry import check, program

ITEMS = 6000


def page_sum():
    """What the page's script comes to (data/page.html)."""
    values = sorted(((i * 7919) % 10007, i) for i in range(ITEMS))
    total = 0
    for place, (value, i) in enumerate(values):
        total = (total * 31 + value * place + i) % 1000003
    return total


def check_picture(path, width, height):
    """The page turns green on the left if its sums are right, and has a canvas of blue below on the right."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        check(image.size[0] == width, f"the picture is {image.size} large")
        seen = [image.getpixel(at) for at in ((50, 50), (50, height - 150), (width - 60, 60))]
    check(seen == [(0, 160, 0), (0, 160, 0), (0, 0, 200)], f"the page does not look as it must: {seen}")
    return seen


def page(job):
    """The page, with the sum that it must come to."""
    text = (DATA / "page.html").read_text().replace("@ITEMS@", str(ITEMS)).replace("@SUM@", str(page_sum()))
    path = pathlib.Path(job.folder / "page.html")
    path.write_text(text)
    return f"file://{path}"


@program("chromium", serves={"chromium": 0})
def chromium(job):
    """loads a page of scripts, workers and a canvas, and leaves its document and a picture of it"""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
               f"--user-data-dir={job.folder}/profile"]
    address = page(job)
    document = job.run("chromium", *options, "--dump-dom", address).text
    is_right = f">sum {page_sum()} of {ITEMS}, workers agree<" in document
    check(is_right, f"the document lacks the page's sum: {document[-300:]}")
    job.run("chromium", *options, "--window-size=1000,700", f"--screenshot={job.folder}/page.png", address)
    return [document.count("<li"), check_picture(job.folder / "page.png", 1000, 600)]


@program("firefox", serves={"firefox-esr": 0})
def firefox(job):
    """loads the same page, and leaves a picture of it"""
    (job.folder / "profile").mkdir()
    job.run("firefox-esr", "--headless", "--no-remote", "--profile", job.folder / "profile", "--window-size", "1000,700",
            "--screenshot", job.folder / "page.png", page(job))
    return check_picture(job.folder / "page.png", 1000, 600)
