"""Points where their values are, the best of them marked."""

import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmhybrid.search import Objective
from mmhybrid.visualization.charts import (
    LANDMARK,
    MARKED,
    Landmark,
    Point,
    Scale,
    effects_chart,
    front_chart,
    progress_chart,
    spanning,
)
from mmhybrid.visualization.gene_effects import GeneEffect
from mmhybrid.visualization.picture import INK

SVG = '{http://www.w3.org/2000/svg}'
TOP1, LOSS = Objective('top1'), Objective('loss', 'minimize')
small = st.integers(-50, 50)


def marked(picture, color):
    """The titles of the dots of a colour."""
    groups = ElementTree.fromstring(picture.svg_file()).iter(f'{SVG}g')
    return {group.find(f'{SVG}title').text for group in groups if group.find(f'{SVG}circle').get('fill') == color}


@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-3, 1e6), count=st.integers(2, 12))
def test_ticks_are_round_few_and_inside(low, size, count):
    scale = Scale(low, low + size, 0, 100)
    ticks = scale.ticks(count)
    assert 1 <= len(ticks) <= count + 1
    assert all(low - 1e-6 * size <= tick <= low + size * (1 + 1e-6) for tick in ticks)
    steps = {float(f'{b - a:.1e}') for a, b in itertools.pairwise(ticks)}
    assert len(steps) <= 1
    assert all(f'{step:.0e}'[0] in '125' for step in steps)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_a_scale_has_room_for_all_values(values):
    scale = spanning(values, 10, 90)
    assert all(10 < scale(value) < 90 for value in values)


@given(st.lists(small, min_size=1, max_size=20), st.sampled_from([TOP1, LOSS]))
def test_progress_marks_the_first_best(scores, objective):
    points = [Point(i, score, str(i)) for i, score in enumerate(scores, start=1)]
    best = (max if objective is TOP1 else min)(scores)
    picture = progress_chart(points, objective, {'only': len(scores)})
    assert marked(picture, MARKED) == {str(scores.index(best) + 1)}
    lines = ElementTree.fromstring(picture.svg_file()).findall(f'{SVG}polyline')
    (line,) = (line for line in lines if line.get('stroke') == INK)
    heights = [float(place.split(',')[1]) for place in line.get('points').split()]
    assert heights == sorted(heights, reverse=objective is TOP1)


@given(st.lists(st.tuples(small, small), min_size=1, max_size=20, unique=True), st.sampled_from([TOP1, LOSS]))
def test_the_front_is_what_no_other_beats(pairs, objective):
    points = [Point(x, y, f'{x} {y}') for x, y in pairs]

    def beats(a, b):
        return a != b and a.x <= b.x and objective.sign * a.y <= objective.sign * b.y

    best = {p.title for p in points if not any(beats(other, p) for other in points)}
    assert marked(front_chart(points, points[0], 'macs_m', objective, []), INK) == best


def test_landmarks_are_drawn_where_they_are_within_the_chart():
    points = [Point(1, 1, 'a'), Point(9, 2, 'b')]
    landmarks = [Landmark('scored', 5, 1.5), Landmark('costed', 3, None), Landmark('far', 100, None)]
    picture = front_chart(points, points[0], 'macs_m', TOP1, [], landmarks)
    assert marked(picture, LANDMARK) == {'scored: 5, 1.5'}
    tree = ElementTree.fromstring(picture.svg_file())
    assert {'scored', 'costed'} <= {text.text for text in tree.iter(f'{SVG}text')}
    assert 'far' not in picture.svg()
    (line,) = (line for line in tree.iter(f'{SVG}polyline') if line.get('stroke') == LANDMARK)
    (left, right) = (place.split(',')[0] for place in line.get('points').split())
    x = spanning([1, 9], 64, 520 - 16)
    assert float(left) == float(right) == pytest.approx(x(3), abs=0.05)


def test_bounds_are_drawn_where_they_are_within_the_chart():
    points = [Point(1, 1, 'a'), Point(9, 2, 'b')]
    text = front_chart(points, points[0], 'macs_m', TOP1, [5, 100]).svg()
    assert 'bound 5' in text
    assert 'bound 100' not in text


def test_a_row_for_each_choice():
    effects = [
        GeneEffect('conv.0.kernel', {3: (1.0, 4), 5: (3.0, 6)}, 0.5),
        GeneEffect('stages.0.mlp_ratio', {1.5: (2.0, 4), 2.0: (2.5, 3), 4.0: (1.0, 3)}, 1.0),
    ]
    root = ElementTree.fromstring(effects_chart(effects, TOP1, 2.0).svg_file())
    words = [text.text for text in root.iter(f'{SVG}text')]
    assert {'conv.0.kernel', '5 > 3', 'stages.0.mlp_ratio', '2 > 1.5 > 4'} <= set(words)
    titles = {group.find(f'{SVG}title').text: group.find(f'{SVG}circle') for group in root.iter(f'{SVG}g')}
    assert 'conv.0.kernel = 5: mean 3 of 6 networks' in titles
    assert len(titles) == 5
    places = {title: float(circle.get('cx')) for title, circle in titles.items()}
    assert places['stages.0.mlp_ratio = 1.5: mean 2 of 4 networks'] == pytest.approx(
        (places['conv.0.kernel = 3: mean 1 of 4 networks'] + places['conv.0.kernel = 5: mean 3 of 6 networks']) / 2,
        abs=0.1,
    )
