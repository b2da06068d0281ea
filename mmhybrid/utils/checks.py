"""Checks of values, whose errors are one clear sentence: the field, its value and what is allowed."""

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any

PLAIN_NAME = re.compile(r'\w[\w .,+\-=@()]*')
LONGEST_NAME = 200
LARGEST_FLOAT: Any = sys.float_info.max  # NaN is not below it either


def bad_value(field: str, value: object, allowed: str) -> ValueError:
    """Return the error that every check raises."""
    return ValueError(f'{field}: got {value!r}, allowed: {allowed}')


def check_keys(field: str, mapping: object, required: Collection[str], optional: Collection[str] = ()) -> None:
    """Raise ValueError unless ``mapping`` has all required keys and no others than these and the optional ones."""
    if not isinstance(mapping, Mapping):
        raise bad_value(field, mapping, f'a dict with the keys {sorted(required)}')
    missing = sorted(set(required) - set(mapping))
    surplus = sorted(set(map(str, mapping)) - set(required) - set(optional))
    if missing or surplus:
        problem = ' and '.join(
            f'{kind} {", ".join(keys)}' for kind, keys in (('missing', missing), ('surplus', surplus)) if keys
        )
        raise ValueError(f'{field}: {problem}; required: {sorted(required)}, optional: {sorted(optional)}')


def check_int(field: str, value: object, low: int, high: int | None = None) -> int:
    """Return ``value`` if it is an int within [low, high]; bools and floats are refused."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        raise bad_value(field, value, f'an int >= {low}' if high is None else f'an int from {low} to {high}')
    return value


def check_float(field: str, value: object, low: float, high: float | None = None, above: bool = False) -> float:
    """Return ``value``, also a scalar of NumPy, as a finite float in [low, high], or in (low, high] with ``above``."""
    if isinstance(value, Real) and not isinstance(value, bool) and bool(abs(value) <= LARGEST_FLOAT):
        number = float(value)
        if (number > low if above else number >= low) and (high is None or number <= high):
            return number
    bound = f'a number {">" if above else ">="} {low}' + ('' if high is None else f' and <= {high}')
    raise bad_value(field, value, bound)


def check_bool(field: str, value: object) -> bool:
    """Return ``value`` if it is True or False."""
    if not isinstance(value, bool):
        raise bad_value(field, value, 'True or False')
    return value


def check_choice(field: str, value: Any, allowed: Collection[Any]) -> Any:
    """Return ``value`` if it is one of ``allowed``."""
    if not any(type(value) is type(option) and value == option for option in allowed):
        raise bad_value(field, value, f'one of {list(allowed)}')
    return value


def check_name(field: str, value: object) -> str:
    """Return ``value`` if it may name a new file: letters, digits and a few signs, no separators, and not too long."""
    if not isinstance(value, str) or not PLAIN_NAME.fullmatch(value) or len(value.encode()) > LONGEST_NAME:
        allowed = (
            f'1 to {LONGEST_NAME} letters, digits, spaces and _ . , + - = @ ( ), of which a letter or digit is first'
        )
        raise bad_value(field, value, allowed)
    return value


def check_class(field: str, value: Any, kind: type) -> Any:
    """Return ``value`` if it is a ``kind``."""
    if not isinstance(value, kind):
        raise bad_value(field, value, f'a {kind.__name__}')
    return value


def check_all(field: str, values: object, kind: type) -> list[Any]:
    """Return ``values`` as a list if each of them is a ``kind``."""
    return [check_class(f'{field}[{place}]', value, kind) for place, value in enumerate(check_list(field, values))]


def check_list(field: str, value: object, length: int | None = None) -> list[Any]:
    """Return ``value`` as a list, of ``length`` elements if it is given; strings are refused."""
    if isinstance(value, str) or not isinstance(value, Sequence) or (length is not None and len(value) != length):
        raise bad_value(field, value, 'a list' if length is None else f'a list of {length} values')
    return list(value)
