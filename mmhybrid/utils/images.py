"""A check of the size of an image before it is decoded."""

import os
from collections.abc import Mapping
from pathlib import Path

from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.errors import first_line

# This many pixels take 400 megabytes in three channels, and a file of two megabytes may hold an image of three
# gigabytes.
MOST_PIXELS = 2**27
# Files of Radiance (.hdr) begin with these bytes, and OpenCV reads them whatever their name is.
HIGH_RANGE = b'#?R'


# OpenCV reads its limit, else 2**30 pixels, from this variable when it is imported.
OPENCV_LIMIT = 'OPENCV_IO_MAX_IMAGE_PIXELS'


class UnreadImageError(ValueError):
    """Raised for an image of a data set that cannot be read; the last line of the message names it."""


def limit_opencv() -> None:
    """Let OpenCV decode no image of more pixels than :func:`check_image` takes, unless the user has set its limit.

    Pillow and OpenCV may see two sizes in one file, such as a JPEG 2000 with two headers.
    """
    os.environ.setdefault(OPENCV_LIMIT, str(MOST_PIXELS))


def check_image(path: str | Path) -> None:
    """Raise ValueError for a path that is not a file, and for an image of more pixels than any photograph has.

    An image that Pillow cannot read is left to the library that can. Pictures of high dynamic range are refused,
    because a compressed file of six megabytes may hold one of a gigabyte.
    """
    from PIL import Image  # here, since ``import mmhybrid`` needs the limit alone

    if not Path(path).is_file():
        raise ValueError(f'image {path} {"is not a file" if Path(path).exists() else "does not exist"}')
    try:
        with Image.open(path) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = MOST_PIXELS + 1
    except Exception:  # a damaged image may raise nearly anything
        with open(path, 'rb') as file:
            if file.read(len(HIGH_RANGE)) == HIGH_RANGE:
                raise bad_value('image', str(path), 'a photograph of 8 bits a channel') from None
        return
    if pixels > MOST_PIXELS:
        raise bad_value('image', str(path), f'at most {MOST_PIXELS} pixels')


def raise_named(error: Exception, transform: object, results: object) -> None:
    """Raise an error of OpenCV or Pillow again with the name of the file, if that is known.

    Args:
        error: What was raised.
        transform: The step of a data pipeline that has raised it.
        results: What the step was given: a dict with ``img_path``, and where there is a label map ``seg_map_path``.

    Raises:
        OSError: If the error was one without a number, as Pillow raises for a damaged file.
        UnreadImageError: If it was any other error of the two.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = '' if frame is None else frame.tb_frame.f_globals.get('__name__', '')
    if not {'cv2', 'PIL'} & {name.partition('.')[0] for name in (type(error).__module__, module)}:
        return
    if not isinstance(results, Mapping) or getattr(error, 'errno', None) is not None:
        return
    names = ('seg_map_path', 'img_path') if 'Annotation' in type(transform).__name__ else ('img_path',)
    path = next((results[name] for name in names if results.get(name)), None)
    if path is None:
        return
    if 'MAX_IMAGE_PIXELS' in str(error) or 'exceeds limit' in str(error):
        allowed = f'at most {os.environ.get(OPENCV_LIMIT, MOST_PIXELS)} pixels'
        raise UnreadImageError(f'{bad_value("image", str(path), allowed)}') from error
    kind = OSError if isinstance(error, OSError) else UnreadImageError
    raise kind(f'image {path} cannot be read: {first_line(error)}') from error
