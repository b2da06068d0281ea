"""docs/architecture.md speaks of every room and of every dependency, and its rule of imports holds."""

import ast
import re
from pathlib import Path

import pytest
from doc_blocks import ROOT
from packaging.requirements import Requirement

pytestmark = pytest.mark.docs
TEXT = (ROOT / 'docs/architecture.md').read_text()
# What a room may import of the others; `registry` and `utils` are everybody's.
MAY_IMPORT = {
    'space': set(),
    'search': {'space'},
    'models': {'space'},
    'datasets': set(),
    'estimation': {'space', 'models'},
    'visualization': {'space', 'search', 'models'},
    'engine': {'space', 'search', 'models', 'estimation', 'datasets'},
}


def test_names_every_room() -> None:
    rooms = [path.parent.name for path in (ROOT / 'mmhybrid').glob('*/__init__.py')]
    assert {*rooms, 'utils'} == {*MAY_IMPORT, 'utils'}
    assert not [room for room in rooms if f'mmhybrid/{room}' not in TEXT]


def test_names_every_dependency() -> None:
    table = TEXT.partition('## Dependencies')[2]
    named = {name for row in re.findall(r'^\| ([^|]*) \|', table, re.MULTILINE) for name in re.findall(r'[\w-]+', row)}
    lines = [line.split('#')[0].strip() for path in (ROOT / 'requirements').glob('*.txt') for line in path.open()]
    assert {Requirement(line).name for line in lines if line} <= named


@pytest.mark.parametrize('room', MAY_IMPORT)
def test_imports_run_one_way(room: str) -> None:
    imported = set().union(*map(imports, (ROOT / 'mmhybrid' / room).rglob('*.py')))
    assert imported - {room, 'registry', 'utils', 'compat'} <= MAY_IMPORT[room]


def imports(path: Path) -> set[str]:
    """The rooms that a module imports."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {node.module.split('.')[1] for node in nodes if node.module and node.module.startswith('mmhybrid.')}
