"""The Python text of a config, formatted as if written by hand."""

import ast
import keyword
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from mmhybrid.utils.checks import bad_value

WIDTH = 120
# Everything that may be in a config: a docstring, and assignments of literals, of ``dict(...)``, of ``float('inf')``
# and of attributes of ``_base_``.
_STATEMENTS = (ast.Module, ast.Expr, ast.Assign, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.keyword, ast.UnaryOp)
_CONTEXTS = (ast.Load, ast.Store, ast.USub)
_FUNCTIONS = ('dict', 'float')


class Expression(str):
    """Python code in place of a value, such as ``_base_.backbone``."""


def config_text(settings: Mapping[str, Any]) -> str:
    """Return one assignment for each setting.

    Args:
        settings: Settings by name. Their values are Python literals or :class:`Expression`. The key ``**`` of a dict
            stands for the items of another dict.

    Raises:
        ValueError: If a name is not a valid identifier, or a value is neither a literal nor an expression.
    """
    for name in settings:
        if not _is_name(name):
            raise bad_value('setting', name, 'a name')
    return ''.join(f'{name} = {_text(value, len(name) + 3)}\n' for name, value in settings.items())


def docstring(text: str) -> str:
    """Return any text as the docstring of a config, followed by an empty line."""
    escaped = text.replace('\\', r'\\').replace('"', r'\"').replace('{{', r'{\x7b')
    lines = ''.join(char if char.isprintable() or char == '\n' else _escape(char) for char in escaped)
    end = '\n' if '\n' in lines else ''
    return f'"""{lines}{end}"""\n\n'


def _escape(char: str) -> str:
    """Escape a character as Python does; surrogates, which Python 3.13 rejects in a docstring, are spelled out."""
    return ('\\' if unicodedata.category(char) == 'Cs' else '') + repr(char)[1:-1]


def literal(text: str) -> str:
    """Return a string as a Python literal in which MMEngine does not replace ``{{ ... }}``."""
    return repr(str(text)).replace('{{', r'{\x7b')


def checked(text: str) -> str:
    """Return the text of a config, after asserting that it contains no code that computes anything."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            allowed = isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
        elif isinstance(node, ast.Attribute):
            allowed = isinstance(node.value, ast.Attribute | ast.Name)
        elif isinstance(node, ast.Name):
            allowed = isinstance(node.ctx, ast.Store) or node.id in ('_base_', *_FUNCTIONS)
        else:
            allowed = isinstance(node, _STATEMENTS + _CONTEXTS)
        assert allowed, ast.unparse(node)
    assert all(isinstance(node, ast.Assign) or node is tree.body[0] for node in tree.body)
    return text


def _text(value: Any, column: int, indent: int = 0) -> str:
    """Return a value's text on one line if it fits after ``column`` characters, else with one item per line."""
    opening, items, closing = _pieces(value)
    comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
    line = opening + ', '.join(name + _text(item, 0, -WIDTH) for name, item in items) + comma + closing
    if not items or indent < 0 or column + len(line) < WIDTH:
        return line
    inner = indent + 4
    lines = [f'{" " * inner}{name}{_text(item, inner + len(name), inner)},\n' for name, item in items]
    return f'{opening}\n{"".join(lines)}{" " * indent}{closing}'


def _pieces(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """Return the opening bracket, the items with their names, and the closing bracket."""
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: key != 'type')
        if all(key == '**' or _is_name(key) for key in keys):
            return 'dict(', [(key if key == '**' else f'{key}=', value[key]) for key in keys], ')'
        return '{', [(f'{_literal(key)}: ', value[key]) for key in keys], '}'
    if isinstance(value, list):
        return '[', [('', item) for item in value], ']'
    if isinstance(value, tuple):
        return '(', [('', item) for item in value], ')'
    return _literal(value), [], ''


def _literal(value: Any) -> str:
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, str):
        return literal(value)
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{float(value)}')"
    if isinstance(value, int | float):
        return repr(float(value) if isinstance(value, float) else int(value))
    raise bad_value('setting', value, 'None, a bool, a number, a string, or a list, tuple or dict of these')


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isascii() and key.isidentifier() and not keyword.iskeyword(key)
