"""Config variables that the command line sets before the config is read.

A config computes settings from variables, as in ``ann_file=data_root + 'train.json'``. MMEngine replaces a variable
only after that, which changes the variable but not the settings computed from it.
"""

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config


@contextmanager
def given(options: Mapping[str, Any]) -> Iterator[None]:
    """Within the block, let configs that MMEngine reads assign the values of ``options`` instead of their own.

    Args:
        options: Values by name. Dotted names and values that are dicts change nothing here.
    """
    values = {
        name: value
        for name, value in options.items()
        if name.isidentifier() and not name.startswith('_') and not isinstance(value, Mapping)
    }
    if not values:
        yield
        return
    substitute = Config._substitute_predefined_vars

    def substitute_all(filename: str, temp_config_name: str) -> None:
        """Do what MMEngine does, and then set the variables in its temporary copy of the config, which it reads."""
        substitute(filename, temp_config_name)
        copy = Path(temp_config_name)
        if copy.suffix == '.py':
            copy.write_text(with_values(copy.read_text(encoding='utf-8'), values), encoding='utf-8')

    Config._substitute_predefined_vars = staticmethod(substitute_all)
    try:
        yield
    finally:
        Config._substitute_predefined_vars = staticmethod(substitute)


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """Return the text of a config with other values for some variables; text that is not Python stays unchanged."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError):
        return text
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for statement in reversed(statements):
        if not isinstance(statement, ast.Assign) or not isinstance(target := statement.targets[0], ast.Name):
            continue
        if target.id in values and len(statement.targets) == 1:
            own = statement.value
            assert own.end_lineno is not None
            first, last = own.lineno - 1, own.end_lineno - 1
            before, behind = lines[first][: own.col_offset], lines[last][own.end_col_offset :]
            lines[first : last + 1] = [before + repr(values[target.id]).encode() + behind]
    return b''.join(lines).decode()
