"""Show what an end-to-end ONNX file finds in a photograph.

    mmhybrid run-onnx FILE.onnx PHOTO --out PICTURE [--score 0.3]

FILE.onnx is a file of ``mmhybrid export --end-to-end``. On a device, a copy of this file alone does the same with
``python run_onnx.py``. It needs NumPy, Pillow and onnxruntime, but neither mmhybrid nor torch.
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

# Accepted formats of photographs. Pillow knows more, but hands one of them (EPS), which is a program, to Ghostscript.
FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')
COLOURS = 256
# Number of characters that are shown of a class name, and of an error message.
LONGEST_NAME = 100
LONGEST_MESSAGE = 2000
# Fields of ONNX's messages that can hold tensors, by field number.
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
EXTERNAL_DATA = 13  # field number in a tensor
MOST_MESSAGES = 2**20  # nodes, attributes and tensors of a file, each of which may take two bytes


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Show what an end-to-end ONNX file finds in a photograph.')
    parser.add_argument('file', help='file of mmhybrid export --end-to-end')
    parser.add_argument('photo', help='image file')
    parser.add_argument('--out', required=True, metavar='PICTURE', help='a .png or .jpg file')
    parser.add_argument('--score', type=float, default=0.3, help='smallest score of a box that is shown; default: 0.3')
    parser.add_argument(
        '--timeout',
        type=float,
        default=600,
        metavar='SECONDS',
        help='time limit, since a file may contain an endless loop; default: 600',
    )
    parser.add_argument('--threads', type=int, default=0, help='number of CPU threads; default: all')
    return parser.parse_args(argv)


def find(file: str, image: np.ndarray, threads: int, seconds: float) -> tuple[dict[str, np.ndarray], list[str]]:
    """Run a file on an image.

    Args:
        file: Path of the ONNX file.
        image: (H, W, 3) uint8, RGB.
        threads: Number of CPU threads; 0 for all.
        seconds: Time limit.

    Returns:
        The outputs by name, and the names of the classes, empty if the file has none.
    """
    import onnxruntime

    if Path(file).exists() and not Path(file).is_file():
        raise ValueError(f'{file} is not a file')  # a pipe would be waited for forever
    content = Path(file).read_bytes()
    check_values(file, content)
    settings = onnxruntime.SessionOptions()
    # errors are raised anyway, and logged names could contain control characters that the terminal obeys
    settings.log_severity_level = 4
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, settings, providers=['CPUExecutionProvider'])
    if [given.name for given in session.get_inputs()] != ['image']:
        raise ValueError(f'{file} does not take a photograph; write it with mmhybrid export --end-to-end')
    names = [output.name for output in session.get_outputs()]
    options = onnxruntime.RunOptions()
    # takes effect between two layers, or two iterations of a loop
    alarm = Timer(seconds, setattr, (options, 'terminate', True))
    alarm.start()
    try:
        found = dict(zip(names, session.run(names, {'image': image}, options), strict=True))
    except Exception as error:
        if options.terminate:
            raise ValueError(f'{file}: no result within {seconds:g} s; --timeout allows more') from error
        raise
    finally:
        alarm.cancel()
    if not is_expected(found, image):
        raise ValueError(f'{file} does not return boxes or a segmentation; write it with mmhybrid export --end-to-end')
    return found, names_of_classes(session.get_modelmeta().custom_metadata_map.get('classes', '[]'))


def check_values(file: str, content: bytes) -> None:
    """Raise ValueError if tensor values are in another file, which ONNX Runtime 1.23 would read from anywhere."""
    other_format = content[4:8] == b'ORTM'  # the format of ONNX Runtime itself
    left, count = [] if other_format else [('model', memoryview(content))], 0
    try:
        while left:
            kind, message = left.pop()
            for number, part in fields(message):
                if kind == 'tensor' and number == EXTERNAL_DATA:
                    raise ValueError(
                        f'{file}: its values are in another file; mmhybrid export writes them into the file itself'
                    )
                inside = HOLDERS.get(kind, {}).get(number)
                if inside is not None:
                    left.append((inside, part))
                    count += 1
                    if count > MOST_MESSAGES:
                        raise ValueError(f'{file}: more than {MOST_MESSAGES} nodes, attributes and tensors')
    except IndexError:
        other_format = True
    if other_format:
        raise ValueError(f'{file} is not an ONNX file, or is damaged')


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of a message's fields, except plain numbers; raise IndexError for an invalid message."""
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
    """Return whether the outputs are a class for each pixel, or finite boxes with scores and classes."""
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
    """Return the names in JSON, safe to show in a terminal and in a picture."""
    try:
        names = json.loads(text)
    except RecursionError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'classes: got {text[:LONGEST_NAME]!r}, allowed: a list of names')
    return [printable(name[:LONGEST_NAME]) for name in names]


def printable(text: str) -> str:
    """Escape control characters, which names in files may hold and a terminal would obey."""
    return ''.join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def read_photo(path: str) -> np.ndarray:
    """Read a photograph as (H, W, 3) uint8, RGB, rotated upright."""
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f'{path} is not a file')
    try:
        with Image.open(path, formats=FORMATS) as photo:
            return np.asarray(ImageOps.exif_transpose(photo).convert('RGB'))
    except Image.DecompressionBombError as error:
        raise ValueError(f'{path}: {error}') from error


def colour(label: int) -> tuple[int, ...]:
    """Return a colour for a class, far from those of the neighbouring classes."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(label * 0.381966 % 1, 0.75, 0.95))


def drawn(image: np.ndarray, found: Mapping[str, Any], classes: Sequence[str], score: float) -> Image.Image:
    """Return the photograph with boxes, or with the colours of the pixels' classes, and print what was found."""
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
    """Read the photograph, run the file and draw the result."""
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
