"""Video and pictures: ffmpeg, ImageMagick, GIMP, Blender, Inkscape.

Always holds: what is encoded or drawn is made by the program itself. It is the same in each run, byte by byte or pixel by
pixel, but for encoders that are known to differ: these must come close to the original.
"""
import hashlib
import re

from PIL import Image

from harness.job import DATA, digest
from harness.registry import check, program

FRAMES = 150


def pixels(path):
    """The size and the hash of a picture's pixels, whatever its file says besides."""
    with Image.open(path) as image:
        return [*image.size, hashlib.sha256(image.convert("RGBA").tobytes()).hexdigest()]


def colours(path):
    """How many different colours a picture has, up to a quarter of a million."""
    with Image.open(path) as image:
        found = image.convert("RGB").getcolors(1 << 18)
    return len(found) if found else 1 << 18


@program("ffmpeg", serves={"ffmpeg": 500})
def ffmpeg(job):
    """encodes a generated film by FFV1, x264, VP9, MPEG-4, AAC, Opus and FLAC, and scales it on many threads"""
    quiet = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
    job.run(*quiet, "-f", "lavfi", "-i", f"testsrc2=size=960x540:rate=25:duration={FRAMES // 25}", "-f", "lavfi",
            "-i", f"sine=frequency=330:duration={FRAMES // 25}", "-c:v", "ffv1", "-level", "3", "-slices", "4",
            "-c:a", "flac", *exact, "film.mkv")
    job.run(*quiet, "-i", "film.mkv", "-c:v", "libx264", "-preset", "medium", "-c:a", "aac", *exact, "small.mkv")
    job.run(*quiet, "-i", "film.mkv", "-vf", "scale=480:270", "-c:v", "libvpx-vp9", "-deadline", "realtime",
            "-cpu-used", "8", "-b:v", "800k", "-c:a", "libopus", *exact, "small.webm")
    wall = ("[0:v]split=4[a][b][c][d];[a]hflip[e];[b]negate[f];[c]boxblur=4[g];[d][e]hstack[h];[f][g]hstack[i];"
            "[h][i]vstack,scale=640:360")
    job.run(*quiet, "-i", "film.mkv", "-filter_complex", wall, "-c:v", "mpeg4", "-q:v", "4", "-c:a", "flac", "-strict", "-2",
            *exact, "wall.mkv")
    found = []
    for name, width in ("film.mkv", 960), ("small.mkv", 960), ("small.webm", 480), ("wall.mkv", 640):
        shown = job.run("ffprobe", "-v", "error", "-count_frames", "-show_entries",
                        "stream=codec_name,width,nb_read_frames", "-of", "compact", name).text
        is_right = f"width={width}" in shown and f"nb_read_frames={FRAMES}" in shown
        check(is_right, f"{name} is not what was asked for: {shown}")
        found.append(shown)
    # What x264 and VP9 make is not the same in each run, also under glibc: it depends on what memory holds that was never
    # written to (MALLOC_PERTURB_ shows it), and on threads. It must look like the film.
    for name, size in ("small.mkv", "960:540"), ("small.webm", "480:270"):
        shown = job.run("ffmpeg", "-nostdin", "-hide_banner", "-i", name, "-i", "film.mkv", "-lavfi",
                        f"[1:v]scale={size}[film];[0:v][film]psnr", "-f", "null", "-").errors
        likeness = re.search(r"PSNR .* average:([\d.]+)", shown)
        check(likeness and float(likeness[1]) > 25, f"{name} does not look like the film: {shown[-300:]}")
    # Each stream by itself: in which order a file has the packets of two streams is a matter of time.
    return found + [job.run(*quiet, "-i", name, "-map", stream, "-f", "md5", "-").text
                    for name in ("film.mkv", "wall.mkv") for stream in ("0:v", "0:a")]


@program("imagemagick", serves={"convert": 200})
def imagemagick(job):
    """draws a fractal noise, turns, blurs, sharpens and quantizes it, and writes it in five formats"""
    job.run("convert", "-seed", "7", "-size", "1400x1400", "plasma:fractal", "-depth", "8", "start.png")
    turned = ["(", "-clone", "0", "-rotate", "31", "-crop", "1400x1400+200+200", "+repage", ")"]
    job.run("convert", "start.png", "(", "+clone", "-blur", "0x6", ")", *turned, "-evaluate-sequence", "mean",
            "-unsharp", "0x3", "-colors", "200", "-distort", "Arc", "70", "end.png")
    found = {}
    for name in "end.png", "end.bmp", "end.tif", "end.gif", "end.jpg":
        job.run("convert", "end.png", name)
        found[name] = pixels(job.folder / name)
    shown = job.run("identify", "-format", "%k %m\n", "end.gif").text
    check(colours(job.folder / "end.png") > 150 and shown.endswith("GIF\n"), f"the picture is not as drawn: {shown}")
    return found


@program("gimp", serves={"gimp-console-2.10": 20000, "script-fu": 1000})
def gimp(job):
    """draws, filters and merges layers in a batch of Script-Fu, and saves the picture as XCF and PNG"""
    script = (DATA / "picture.scm").read_text()
    job.run("gimp-console-2.10", "--no-data", "--no-fonts", "--no-interface", "--batch", "-", text=script)
    size = pixels(job.folder / "picture.png")
    check(size[:2] == [900, 600] and colours(job.folder / "picture.png") > 1000, f"the picture is not as drawn: {size}")
    check((job.folder / "picture.xcf").read_bytes().startswith(b"gimp xcf"), "picture.xcf is no picture of GIMP")
    return size


@program("blender", serves={"blender": 20000})
def blender(job):
    """builds a scene with modifiers by Python and renders two frames of it by Cycles, without a display"""
    done = job.run("blender", "--background", "--factory-startup", "-noaudio", "--python-exit-code", "9",
                   "--python", DATA / "scene.py", "--", job.folder)
    counted = re.search(r"scene has (\d+) vertices", done.text)
    check(counted and int(counted[1]) > 50000, f"the scene is not as built: {done.text[-300:]}")
    found = [pixels(job.folder / f"frame{number}.png") for number in (1, 20)]
    check(found[0] != found[1] and colours(job.folder / "frame1.png") > 1000, "the frames are not as rendered")
    return [counted[1], found]


@program("inkscape", serves={"inkscape": 20000})
def inkscape(job):
    """draws an SVG of a thousand shapes, gradients, blurs and texts as PNG, PDF and plain SVG"""
    shapes = "".join(
        f'<path d="M{i * 37 % 800} {i * 91 % 600} q{i % 40} {-i % 50} {i % 60} {i % 30} t20 10 z" fill="url(#g{i % 5})" '
        f'stroke="#{i * 7919 % 0xFFFFFF:06x}" class="{"soft" if i % 40 == 0 else "hard"}"/>' for i in range(1000))
    texts = "".join(f'<text x="20" y="{20 + i * 14}" font-size="12">line {i} of the drawing</text>' for i in range(40))
    gradients = "".join(f'<linearGradient id="g{i}"><stop offset="0" stop-color="#{i}0{i}0ff"/>'
                        f'<stop offset="1" stop-color="#ff{i}0{i}0"/></linearGradient>' for i in range(5))
    (job.folder / "drawing.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="600"><style>.soft {{ filter: url(#b) }}</style>'
        f'<defs>{gradients}<filter id="b"><feGaussianBlur stdDeviation="3"/></filter></defs>'
        f'<rect width="800" height="600" fill="#eef"/>{shapes}{texts}</svg>')
    job.run("inkscape", "drawing.svg", "--export-type=png", "--export-width=1600", "--export-filename=drawing.png")
    job.run("inkscape", "drawing.svg", "--export-type=pdf", "--export-filename=drawing.pdf")
    job.run("inkscape", "drawing.svg", "--export-plain-svg", "--export-text-to-path", "--export-filename=plain.svg")
    check((job.folder / "drawing.pdf").read_bytes().startswith(b"%PDF"), "drawing.pdf is no PDF")
    found = pixels(job.folder / "drawing.png")
    check(found[:2] == [1600, 1200] and colours(job.folder / "drawing.png") > 1000, f"the picture is not as drawn: {found}")
    return [found, digest(job.folder / "plain.svg")]
