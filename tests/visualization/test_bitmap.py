"""Pixels on a picture."""

import io
from base64 import b64decode
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image

from mmhybrid.visualization.bitmap import Bitmap, color_key, colored, overlaid
from mmhybrid.visualization.picture import Picture, Rect, Text

PIXELS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)


def test_png_shows_the_pixels_where_they_are_and_in_order():
    picture = Picture(100, 80, [Rect(5, 5, 60, 60, '#000000'), Bitmap(10, 20, 40, 40, PIXELS)], 'pixels')
    image = cv2.imdecode(np.frombuffer(picture.png_file(scale=1), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert image.shape == (80, 100, 3)
    np.testing.assert_array_equal(image[[30, 30, 50, 50], [20, 40, 20, 40]], PIXELS.reshape(4, 3))
    np.testing.assert_array_equal(image[7, 7], (0, 0, 0))


def test_svg_holds_the_pixels():
    element = ElementTree.fromstring(Bitmap(1, 2.5, 3, 4, PIXELS).svg())
    assert [element.get(name) for name in ('x', 'y', 'width', 'height')] == ['1', '2.5', '3', '4']
    data = b64decode(element.get('href').removeprefix('data:image/png;base64,'))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), PIXELS)


def test_colors_run_from_low_to_high_and_end_there():
    colors = colored(np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]]), 0, 1, 'viridis')[0]
    np.testing.assert_array_equal(colors[0], colors[1])
    np.testing.assert_array_equal(colors[3], colors[4])
    assert (np.diff(colors[1:4].astype(int).sum(-1)) > 0).all()
    np.testing.assert_array_equal(colored(np.full((1, 1), 3.0), 3, 3, 'viridis')[0, 0], colors[1])


def test_an_overlay_is_a_share_of_the_colors_and_the_rest_grey():
    photograph = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    values = np.full((3, 2), 0.25)
    color = colored(values[:1, :1], 0, 1, 'turbo').astype(float)
    grey = photograph.astype(float).mean(-1, keepdims=True)
    for opacity in (0.0, 0.3, 1.0):
        mixed = overlaid(photograph, values, 0, 1, 'turbo', opacity)
        np.testing.assert_allclose(mixed, (1 - opacity) * grey + opacity * color, atol=0.51)


def test_a_key_has_a_number_at_each_end():
    low, bar, high = color_key(10, 20, -0.5, 1234.5, 'viridis')
    assert isinstance(low, Text)
    assert isinstance(high, Text)
    assert (low.text, high.text) == ('-0.5', '1.23e+03')
    assert low.x + low.length < bar.x
    assert bar.x + bar.width < high.x
