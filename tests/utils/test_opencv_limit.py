"""OpenCV decodes no image that :func:`mmhybrid.utils.images.check_image` would refuse."""

from pathlib import Path
from typing import Any

import pytest
from fresh_python import run_python
from PIL import Image

from mmhybrid.utils.images import MOST_PIXELS, OPENCV_LIMIT

READ = """
import os, sys
import mmhybrid, cv2
print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])
for path in sys.argv[1:]:
    try:
        print(cv2.imread(path, cv2.IMREAD_GRAYSCALE) is not None)
    except cv2.error as error:
        print('CV_IO_MAX_IMAGE_PIXELS' not in str(error))
"""


def opens(*paths: Path, **variables: str) -> list[str]:
    done = run_python(READ, *paths, imported='torch', **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_opencv_has_the_limit_of_our_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of 200 kilobytes that OpenCV would take for a gigabyte."""
    monkeypatch.delenv(OPENCV_LIMIT, raising=False)
    Image.new('1', (30_000, 30_000)).save(tmp_path / 'large.png')
    Image.new('L', (64, 64)).save(tmp_path / 'small.png')
    assert opens(tmp_path / 'large.png', tmp_path / 'small.png') == [str(MOST_PIXELS), 'False', 'True']


@pytest.mark.parametrize('limit', [4096, 5000])
def test_a_limit_of_the_users_stays_and_is_taken_to_the_pixel(tmp_path: Path, limit: int) -> None:
    sizes: Any = [(64, 64), (64, limit // 64), (64, limit // 64 + 1)]
    paths = [tmp_path / f'{i}.png' for i in range(3)]
    for path, size in zip(paths, sizes, strict=True):
        Image.new('L', size).save(path)
    assert opens(*paths, **{OPENCV_LIMIT: str(limit)}) == [str(limit), 'True', 'True', 'False']
