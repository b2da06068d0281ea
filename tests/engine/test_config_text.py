"""Configs as text."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from mmhybrid.engine.config_text import WIDTH, Expression, config_text

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
names = st.text(st.sampled_from('abcdefgh_'), min_size=1, max_size=12).filter(lambda name: not name.startswith('__'))
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(names, inner, max_size=6)
        | st.dictionaries(st.text(max_size=5).filter(lambda key: key != '**'), inner, max_size=3)
    ),
    max_leaves=25,
)


@given(st.dictionaries(names, values, max_size=5))
def test_text_is_read_as_what_was_written(settings: dict[str, Any]) -> None:
    read: dict[str, Any] = {}
    exec(config_text(settings), {}, read)
    assert read == settings


def test_long_values_take_an_item_a_line() -> None:
    text = config_text({'short': [1, 2], 'long': [{'type': 'x' * 40, 'numbers': list(range(20))} for _ in range(3)]})
    assert text.splitlines()[0] == 'short = [1, 2]'
    assert text.count('\n') > 4
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_expressions_are_code(tmp_path: Path) -> None:
    (tmp_path / 'base.py').write_text(
        "backbone = dict(type='A', depth=3)\nmodel = dict(backbone=dict(type='B', size=1))\n"
    )
    model = {'backbone': {'_delete_': True, '**': Expression('_base_.backbone'), 'width': 2}}
    (tmp_path / 'leaf.py').write_text("_base_ = ['./base.py']\n" + config_text({'model': model}))
    assert Config.fromfile(tmp_path / 'leaf.py').model.backbone == {'type': 'A', 'depth': 3, 'width': 2}
