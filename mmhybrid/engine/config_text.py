"""Python text of a config, as one would write it by hand."""

import keyword
from collections.abc import Mapping
from typing import Any

WIDTH = 120


class Expression(str):
    """Python code in place of a value, such as ``_base_.backbone``."""


def config_text(settings: Mapping[str, Any]) -> str:
    """One assignment for each setting.

    Args:
        settings: Values are what Python writes as literals, or :class:`Expression`. The key ``**`` of a dict stands for
            the items of another.
    """
    return ''.join(f'{name} = {_text(value, len(name) + 3)}\n' for name, value in settings.items())


def _text(value: Any, column: int, indent: int = 0) -> str:
    """``value`` on one line if it fits behind ``column`` characters, else an item a line."""
    opening, items, closing = _pieces(value)
    comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
    line = opening + ', '.join(name + _text(item, 0, -WIDTH) for name, item in items) + comma + closing
    if not items or indent < 0 or column + len(line) < WIDTH:
        return line
    inner = indent + 4
    lines = [f'{" " * inner}{name}{_text(item, inner + len(name), inner)},\n' for name, item in items]
    return f'{opening}\n{"".join(lines)}{" " * indent}{closing}'


def _pieces(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """How it opens, the items with their names, how it closes."""
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: key != 'type')
        if all(key == '**' or _is_name(key) for key in keys):
            return 'dict(', [(key if key == '**' else f'{key}=', value[key]) for key in keys], ')'
        return '{', [(f'{key!r}: ', value[key]) for key in keys], '}'
    if isinstance(value, list):
        return '[', [('', item) for item in value], ']'
    if isinstance(value, tuple):
        return '(', [('', item) for item in value], ')'
    return (str(value) if isinstance(value, Expression) else repr(value)), [], ''


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isascii() and key.isidentifier() and not keyword.iskeyword(key)
