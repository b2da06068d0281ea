"""Checks hand on what is allowed as it is, and tell of anything else the field, the value and what is allowed."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmhybrid.utils import checks

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=3)
)


def is_refused(check: Callable[..., Any], value: object, *arguments: Any, **options: Any) -> bool:
    try:
        check('field', value, *arguments, **options)
    except ValueError as error:
        return str(error).startswith(f'field: got {value!r}, allowed: ')
    return False


@given(ANYTHING, st.integers(-3, 3), st.none() | st.integers(-3, 3))
def test_ints_are_those_of_the_range(value: object, low: int, high: int | None) -> None:
    allowed = type(value) is int and value >= low and (high is None or value <= high)
    assert is_refused(checks.check_int, value, low, high) != allowed
    assert not allowed or checks.check_int('field', value, low, high) is value


@given(ANYTHING, st.integers(-3, 3), st.none() | st.integers(-3, 3), st.booleans())
def test_floats_are_finite_and_those_of_the_range(value: object, low: int, high: int | None, above: bool) -> None:
    allowed = type(value) in (int, float) and math.isfinite(value) and (value > low if above else value >= low)
    allowed = allowed and (high is None or value <= high)
    assert is_refused(checks.check_float, value, low, high, above=above) != allowed
    if allowed:
        found = checks.check_float('field', value, low, high, above=above)
        assert type(found) is float
        assert found == value


def test_scalars_of_numpy_are_floats() -> None:
    found = checks.check_float('field', np.float32(0.5), 0)
    assert (type(found), found) == (float, 0.5)


@given(ANYTHING)
def test_only_true_and_false_are_booleans(value: object) -> None:
    assert is_refused(checks.check_bool, value) == (value is not True and value is not False)


@given(ANYTHING, st.none() | st.integers(0, 3))
def test_lists_are_of_their_length_and_no_text(value: object, length: int | None) -> None:
    allowed = isinstance(value, list) and length in (None, len(value))
    assert is_refused(checks.check_list, value, length) != allowed
    if allowed:
        assert checks.check_list('field', tuple(value), length) == value


@pytest.mark.parametrize(('value', 'allowed'), [(1, True), (True, False), (1.0, False), ('1', False), (None, False)])
def test_a_choice_is_of_the_type_of_the_option(value: object, allowed: bool) -> None:
    assert is_refused(checks.check_choice, value, (1, 2)) != allowed


@given(st.sets(st.sampled_from('abcdef')), st.sets(st.sampled_from('abcd')), st.sets(st.sampled_from('ef')))
def test_keys_that_lack_and_keys_beyond_are_all_named(given_keys: set, required: set, optional: set) -> None:
    missing, surplus = sorted(required - given_keys), sorted(given_keys - required - optional)
    mapping = dict.fromkeys(given_keys)
    if not missing and not surplus:
        checks.check_keys('field', mapping, required, optional)
        return
    with pytest.raises(ValueError, match=r'^field: ') as refused:
        checks.check_keys('field', mapping, required, optional)
    told = str(refused.value).partition(';')[0]
    for kind, keys in (('missing', missing), ('surplus', surplus)):
        assert (f'{kind} {", ".join(keys)}' in told) == bool(keys)


def test_what_is_no_dict_has_no_keys() -> None:
    with pytest.raises(ValueError, match=r"^field: got \['a'\], allowed: a dict with the keys \['a'\]$"):
        checks.check_keys('field', ['a'], ['a'])


def test_each_of_several_values_is_checked_and_named_by_its_place() -> None:
    assert checks.check_all('field', ('a', 'b'), str) == ['a', 'b']
    with pytest.raises(ValueError, match=r'^field\[1\]: got 2, allowed: a str$'):
        checks.check_all('field', ['a', 2], str)


@pytest.mark.parametrize('name', ['best', 'a.b-c_d', '4g', 'n' * 200, 'net (2)'])
def test_plain_names(name: str) -> None:
    assert checks.check_name('field', name) == name


@pytest.mark.parametrize('name', ['', '.hidden', '../up', 'a/b', 'a\\b', 'a\nb', 'n' * 201, 'é' * 150, None, 3])
def test_names_that_could_be_more_than_a_name(name: object) -> None:
    assert is_refused(checks.check_name, name)
