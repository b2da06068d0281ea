"""Show what an end-to-end ONNX file finds in a photograph.

    mmhybrid run-onnx FILE.onnx PHOTO --out PICTURE [--score 0.3]

FILE.onnx is from ``mmhybrid export --end-to-end``. This file alone, copied to a device, does the same with ``python
run_onnx.py``: it needs NumPy, Pillow and onnxruntime, and nothing of mmhybrid or torch.
"""

import colorsys
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

# Of photographs. Pillow knows more, and gives one of them (EPS), which is a program, to Ghostscript.
FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')
COLOURS = 256
# Characters of a class that are shown, and of what is said of an error.
LONGEST_NAME = 100
LONGEST_MESSAGE = 2000
# Of ONNX's messages, by the numbers of their fields, what holds tensors.
# https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
HOLDERS = {
    'model': {7: 'graph', 20: 'training', 25: 'function'},
    'training': {1: 'graph', 2: 'graph'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse tensor'},
    'function': {7: 'node', 11: 'attribute'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse tensor', 23: 'sparse tensor'},
    'sparse tensor': {1: 'tensor', 2: 'tensor'},
}
EXTERNAL_DATA = 13  # of a tensor


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """The command line."""
    parser = ArgumentParser(description='Show what an end-to-end ONNX file finds in a photograph.')
    parser.add_argument('file', help='written by mmhybrid export --end-to-end')
    parser.add_argument('photo')
    parser.add_argument('--out', required=True, metavar='PICTURE', help='a .png or .jpg file')
    parser.add_argument('--score', type=float, default=0.3, help='of the least certain box that is shown; default: 0.3')
    parser.add_argument(
        '--timeout', type=float, default=600, metavar='SECONDS', help='for a file that has no end; default: 600'
    )
    parser.add_argument('--threads', type=int, default=0, help='of the CPU; default: all')
    return parser.parse_args(argv)


def find(file: str, image: np.ndarray, threads: int, seconds: float) -> tuple[dict[str, np.ndarray], list[str]]:
    """What a file gives, by name, for an image (H, W, 3) uint8, RGB; and the names of the classes, if it has them."""
    import onnxruntime

    if Path(file).exists() and not Path(file).is_file():
        raise ValueError(f'{file} is no file')  # a pipe would be waited for without end
    content = Path(file).read_bytes()
    check_values(file, content)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # errors are raised too, and a terminal obeys what their names may hold
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, settings, providers=['CPUExecutionProvider'])
    if [given.name for given in session.get_inputs()] != ['image']:
        raise ValueError(f'{file} takes no photograph: write it with mmhybrid export --end-to-end')
    names = [output.name for output in session.get_outputs()]
    options = onnxruntime.RunOptions()
    alarm = Timer(seconds, setattr, (options, 'terminate', True))  # between two layers, or two rounds of a loop
    alarm.start()
    try:
        found = dict(zip(names, session.run(names, {'image': image}, options), strict=True))
    except Exception as error:
        if options.terminate:
            raise ValueError(f'{file}: nothing within {seconds:g} s, allowed are as many as --timeout says') from error
        raise
    finally:
        alarm.cancel()
    if not is_expected(found, image):
        raise ValueError(f'{file} gives something else than mmhybrid export --end-to-end writes')
    return found, names_of_classes(session.get_modelmeta().custom_metadata_map.get('classes', '[]'))


def check_values(file: str, content: bytes) -> None:
    """Raise ValueError if values of a tensor are in another file, which ONNX Runtime 1.23 takes anywhere."""
    other_format = content[4:8] == b'ORTM'  # ONNX Runtime's own
    left = [] if other_format else [('model', memoryview(content))]
    try:
        while left:
            kind, message = left.pop()
            for number, part in fields(message):
                if kind == 'tensor' and number == EXTERNAL_DATA:
                    raise ValueError(
                        f'{file}: values in another file, mmhybrid export writes them into the file itself'
                    )
                inside = HOLDERS.get(kind, {}).get(number)
                if inside is not None:
                    left.append((inside, part))
    except IndexError:
        other_format = True
    if other_format:
        raise ValueError(f'{file} is no ONNX file, or damaged')


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The numbers and contents of a message's fields; numbers themselves are left out. IndexError for what is none."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = 0
        for shift in range(0, 70, 7):
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise IndexError

    while place < len(message):
        tag = varint()
        wire = tag & 7
        if wire == 0:
            varint()
            continue
        length = varint() if wire == 2 else {1: 8, 5: 4}.get(wire, len(message))
        if tag >= 2**32 or length > len(message) - place:
            raise IndexError
        if wire == 2:
            yield tag >> 3, message[place : place + length]
        place += length


def is_expected(found: Mapping[str, Any], image: np.ndarray) -> bool:
    """Whether it is a class of each pixel, or finite boxes with their scores and classes."""
    names = ('segmentation',) if 'segmentation' in found else ('boxes', 'scores', 'labels')
    arrays: list[Any] = [found.get(name) for name in names]
    if not all(isinstance(array, np.ndarray) for array in arrays) or arrays[-1].dtype.kind not in 'iu':
        return False
    if 'segmentation' in found:
        (labels,) = arrays
        return labels.shape == image.shape[:2] and labels.min() >= 0 and labels.max() < COLOURS
    boxes, scores, labels = arrays
    count = len(scores) if scores.ndim else -1
    shapes = (boxes.shape, scores.shape, labels.shape)
    return (
        shapes == ((count, 4), (count,), (count,))
        and {boxes.dtype.kind, scores.dtype.kind} == {'f'}
        and bool(np.isfinite(boxes).all())
    )


def names_of_classes(text: str) -> list[str]:
    """The names in JSON, as a terminal and a picture may show them."""
    try:
        names = json.loads(text)
    except RecursionError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'classes: got {text[:LONGEST_NAME]!r}, allowed: a list of names')
    return [printable(name[:LONGEST_NAME]) for name in names]


def printable(text: str) -> str:
    """The text without what a terminal would obey, which names in files may hold."""
    return ''.join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def read_photo(path: str) -> np.ndarray:
    """A photograph (H, W, 3) uint8, RGB, upright."""
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f'{path} is no file')
    try:
        with Image.open(path, formats=FORMATS) as photo:
            return np.asarray(ImageOps.exif_transpose(photo).convert('RGB'))
    except Image.DecompressionBombError as error:
        raise ValueError(f'{path}: {error}') from error


def colour(label: int) -> tuple[int, ...]:
    """One for each class, far from those of its neighbours."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.75, 0.95))


def drawn(image: np.ndarray, found: Mapping[str, Any], classes: Sequence[str], score: float) -> Image.Image:
    """The photograph with boxes, or with the colour of each pixel's class over it; what is found is printed."""
    names = dict(enumerate(classes))
    if 'segmentation' in found:
        labels, counts = np.unique(found['segmentation'], return_counts=True)
        palette = np.array([colour(label) for label in range(COLOURS)], np.uint8)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
            print(f'{names.get(label, label)}: {count / found["segmentation"].size:.1%}')
        return Image.blend(Image.fromarray(image), Image.fromarray(palette[found['segmentation']]), 0.5)
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    width = max(1, min(picture.size) // 200)
    for box, value, label in zip(found['boxes'].tolist(), found['scores'], found['labels'].tolist(), strict=True):
        if value >= score:
            text = f'{names.get(label, label)} {value:.2f}'
            print(text, *(f'{side:.1f}' for side in box))
            pen.rectangle(box, outline=colour(label), width=width)
            pen.text((box[0] + width, box[1] + width), text, fill=colour(label))
    return picture


def main(argv: Sequence[str] | None = None) -> None:
    """Read the photograph, run the file, draw."""
    args = parse_args(argv)
    try:
        image = read_photo(args.photo)
        found, classes = find(args.file, image, args.threads, args.timeout)
        drawn(image, found, classes, args.score).save(args.out)
    except (OSError, ValueError, ImportError) as error:
        raise SystemExit(printable(f'run-onnx: {error}'[:LONGEST_MESSAGE])) from error
    except Exception as error:
        if not type(error).__module__.startswith('onnxruntime'):
            raise
        raise SystemExit(printable(f'run-onnx: {args.file}: {error}'[:LONGEST_MESSAGE])) from error


if __name__ == '__main__':
    main()
