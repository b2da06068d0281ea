"""How large an image is, before it is decoded."""

from pathlib import Path

from PIL import Image

from mmhybrid.utils.checks import bad_value

# 400 megabytes in three channels; a file of two megabytes may hold an image of three gigabytes.
MOST_PIXELS = 2**27
# How Radiance's files begin (.hdr), which OpenCV reads whatever their name is.
HIGH_RANGE = b'#?R'


def check_image(path: str | Path) -> None:
    """Raise ValueError for a file that is none, and for an image of more pixels than any photograph has.

    What Pillow cannot read is left to the library that can, but for pictures of high dynamic range: packed, a file of
    six megabytes may hold one of a gigabyte.
    """
    if not Path(path).is_file():
        raise ValueError(f'image {path} {"is no file" if Path(path).exists() else "does not exist"}')
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
