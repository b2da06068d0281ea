"""Shapes as SVG and as PNG."""

from xml.etree import ElementTree

import cv2
import numpy as np

from mmhybrid.visualization.picture import Dot, Line, Picture, Rect, Text, Titled

SVG = '{http://www.w3.org/2000/svg}'
PICTURE = Picture(
    200,
    100,
    [
        Rect(10, 20, 50, 60, '#ff0000'),
        Titled('<a & "b">', [Dot(150, 50, 20, '#0000ff', '#0000ff')]),
        Line([(10, 90), (190, 90)], '#00ff00', 4),
        Text(100, 50, '1 < 2 & 3', 12),
    ],
    'a "label"',
)


def test_svg_file_holds_the_shapes_and_their_text():
    root = ElementTree.fromstring(PICTURE.svg_file())
    assert root.get('viewBox') == '0 0 200 100'
    assert root.get('aria-label') == 'a "label"'
    assert [child.tag.removeprefix(SVG) for child in root] == ['rect', 'g', 'polyline', 'text']
    assert root.find(f'{SVG}g/{SVG}title').text == '<a & "b">'
    assert root.find(f'{SVG}text').text == '1 < 2 & 3'


def test_an_element_of_a_page_names_no_address():
    assert 'http' not in PICTURE.svg()


def test_png_shows_the_shapes_where_they_are():
    image = cv2.imdecode(np.frombuffer(PICTURE.png_file(scale=2), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (200, 400, 3)
    blue, green, red, white = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    seen = {place: tuple(map(int, image[2 * place[1], 2 * place[0]])) for place in ((11, 21), (59, 79), (150, 50))}
    assert seen == {(11, 21): red, (59, 79): red, (150, 50): blue}
    assert tuple(image[180, 100]) == green
    assert tuple(image[2, 2]) == tuple(image[2 * 15, 2 * 30]) == white


def test_png_is_the_same_each_time():
    assert PICTURE.png_file() == PICTURE.png_file()
