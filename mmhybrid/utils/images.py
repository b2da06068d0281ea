"""A check of the size of an image before it is decoded."""

import os
from pathlib import Path

from mmhybrid.utils.checks import bad_value

# This many pixels take 400 megabytes in three channels, and a file of two megabytes may hold an image of three
# gigabytes.
MOST_PIXELS = 2**27
# Files of Radiance (.hdr) begin with these bytes, and OpenCV reads them whatever their name is.
HIGH_RANGE = b'#?R'


# OpenCV reads its limit, else 2**30 pixels, from this variable when it is imported.
OPENCV_LIMIT = 'OPENCV_IO_MAX_IMAGE_PIXELS'


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
