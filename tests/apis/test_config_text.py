"""Configs as text."""

import ast
from keyword import iskeyword
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from mmhybrid.apis.config_text import WIDTH, Expression, checked, config_text, docstring, literal
from mmhybrid.apis.network_files import write_network

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
names = st.text(st.sampled_from('abcdefgh_'), min_size=1, max_size=12).filter(
    lambda name: not name.startswith('__') and not iskeyword(name)  # 'def'
)
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


# What leaves a string, or what MMEngine replaces in the text of a config before Python reads it.
hostile = st.lists(
    st.sampled_from(
        ['"""', "'''", '"', "'", '\\', '\n', '\r', '\0', '{{', '}}', '{{ $HOME:', '{{ fileDirname }}', '{{_base_.a}}']
        + ['os.system("true")', '# ', 'N', '{', '\ud800', 'ud800', '\x7f', '\u2028']
    )
).map(''.join)


@given(hostile)
def test_no_string_leaves_its_literal(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp('configs') / 'config.py'
    path.write_text(checked(docstring(text) + config_text({'value': [text], 'after': {'key': text}})))
    read = Config.fromfile(path)
    assert (read['value'], read['after']['key']) == ([text], text)
    assert ast.literal_eval(literal(text)) == text
    assert ast.literal_eval(docstring(text).strip()).rstrip('\n') == text.replace('\ud800', r'\ud800').rstrip('\n')


@pytest.mark.parametrize('value', [object(), print, {1, 2}, b'bytes', 1j, {'key': [print]}, {print: 1}])
def test_only_literals_are_written(value: object) -> None:
    with pytest.raises(ValueError, match=r'got .*, allowed: None, a bool, a number'):
        config_text({'model': value})


@pytest.mark.parametrize('name', ['', 'a b', 'a=1;b', 'import', 'a.b', 'a\nb'])
def test_only_names_are_assigned_to(name: str) -> None:
    with pytest.raises(ValueError, match=r'setting: got .*, allowed: a name'):
        config_text({name: 1})


def test_infinite_numbers_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / 'config.py'
    path.write_text(checked(config_text({'bounds': [float('inf'), -float('inf')]})))
    assert Config.fromfile(path).bounds == [float('inf'), -float('inf')]


@pytest.mark.parametrize(
    'text', ['import os', 'a = print(1)', 'a = b.c()', 'a = [x for x in y]', 'a = f"{b}"', 'a = 1\n"text"', 'del a']
)
def test_nothing_that_computes_passes_the_check(text: str) -> None:
    with pytest.raises(AssertionError):
        checked(text)


def test_no_network_is_written_where_the_name_of_the_folder_would_be_code(tmp_path: Path) -> None:
    """MMEngine puts the folder of a config into its text, where an exported one looks for its weights."""
    trace = tmp_path / 'trace'
    code = f'open(chr(47).join({str(trace).split("/")}), chr(119)).close()'.replace("'", '"')
    folder = tmp_path / f"net'+str({code})+'"
    folder.mkdir()
    (folder / 'net.py').write_text("checkpoint = '{{ fileDirname }}/net.pth'\n")
    Config.fromfile(folder / 'net.py')
    assert trace.exists(), 'the attack must be one'
    unused: Any = None
    for name in (folder.name, "o'brien", 'a{{ fileBasename }}', 'back\\slash'):
        with pytest.raises(ValueError, match=r'folder: got .*, allowed: a path without quotes'):
            write_network(unused, unused, tmp_path / name, 'net', {})
