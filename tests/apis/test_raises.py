"""The library raises; programs end."""

import ast
from pathlib import Path

import pytest
from mmengine.config import Config

import mmhybrid
from mmhybrid.apis.searching import search
from mmhybrid.apis.testing import evaluate
from mmhybrid.apis.training import train

PACKAGE = Path(mmhybrid.__file__).parent
# What programs ask for by name: the end of a tool, and of a process that is told to stop.
ENDS = {
    ('engine/ranks.py', 'run'),
    ('utils/signals.py', 'end'),
    ('utils/signals.py', 'exit_on_sigterm'),
}


def ends_in(path: Path) -> set[str]:
    """The functions of a module in which the process is ended."""
    found = set()
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ''
            if name in ('SystemExit', 'ending_on_mistakes', 'exit'):
                found.add(function.name)
    return found


def test_no_module_but_the_programs_ends_the_process() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in PACKAGE.rglob('*.py')
        if not {'.mim', 'commands', '__main__.py'} & set(path.parts)
        for name in ends_in(path)
    }
    assert found == ENDS


def test_mistakes_are_raised(tmp_path: Path) -> None:
    cfg = Config({'work_dir': str(tmp_path), 'model': {'type': 'BaseModel'}, 'load_from': 'none.pth', 'resume': True})
    with pytest.raises(KeyError, match='BaseModel'):
        train(cfg)
    with pytest.raises(KeyError, match='BaseModel'):
        evaluate(cfg)
    with pytest.raises(ValueError, match='a search needs search_cfg'):
        search(cfg, 'none.pth')
