"""The elements of a search space: choices, and the rules between them."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from mmhybrid.archs.base import LARGEST, MOST_LAYERS
from mmhybrid.space.arch import Value, check_value
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_list

# A gene has at most this many values, and each gene has a list of its own.
MOST_VALUES = 4096


@dataclass(frozen=True)
class Rule:
    """A condition on earlier genes and facts.

    Args:
        given: Names of the genes and facts that the condition reads.
        test: Function of the values of ``given``; the value of a gene without effect is None. The function sees nothing
            else, so a space can be counted without listing its networks.
    """

    given: tuple[str, ...]
    test: Callable[..., bool]

    def holds(self, known: Mapping[str, object], *first: Value) -> bool:
        """Return the result of the test, called with ``first`` and then the values of ``given``."""
        return self.test(*first, *(known[name] for name in self.given))


@dataclass(frozen=True)
class Fact:
    """A summary of earlier genes for later rules, which takes fewer values than the genes themselves.

    Args:
        name: Name of the fact; no gene may have it.
        given: Names of the genes and facts from which the fact follows.
        compute: Function of the values of ``given`` that returns the value of the fact.
    """

    name: str
    given: tuple[str, ...]
    compute: Callable[..., Hashable]


@dataclass(frozen=True)
class Choice:
    """A named dimension of a space with its ordered values.

    Args:
        name: Dotted name of the gene: ``blocks.3.kernel_size`` belongs to the block ``blocks.3``.
        values: Values from the smallest network to the largest.
        when: Rule that says whether the gene has an effect; None if it always has one.
        limit: Rule that says which values the earlier genes allow, called with the value first; None if they allow all.
        is_depth: Whether the gene decides how many layers or stages there are.

    Raises:
        ValueError: If the name is empty, if there are no values or two are equal, or if a value is not valid for a
            gene.
    """

    name: str
    values: tuple[Value, ...]
    when: Rule | None = None
    limit: Rule | None = None
    is_depth: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise bad_value('choice', self.name, 'a name')
        if not isinstance(self.values, tuple) or not self.values:
            raise bad_value(self.name, self.values, 'a non-empty tuple of values')
        for value in self.values:
            check_value(self.name, value)
        if len(set(self.values)) < len(self.values):
            raise bad_value(self.name, self.values, 'values that differ')

    @property
    def given(self) -> tuple[str, ...]:
        """Names that the rules of the choice read."""
        return tuple(name for rule in (self.when, self.limit) if rule is not None for name in rule.given)

    @property
    def block(self) -> str:
        """Part of the network that the gene describes."""
        return self.name.rpartition('.')[0] or self.name


def ascending(field: str, values: object, check: Callable[[str, object], Any]) -> tuple[Any, ...]:
    """Return the values of a list in ascending order, as :class:`Choice` needs them, each passed through ``check``.

    Raises:
        ValueError: If ``values`` is not a list, is empty or too long, or ``check`` refuses a value.
    """
    listed = check_list(field, values)
    if len(listed) > MOST_VALUES:
        raise bad_value(field, f'{len(listed)} values', f'at most {MOST_VALUES}')
    checked = [check(field, value) for value in listed]
    if not checked:
        raise bad_value(field, values, 'at least one value')
    return tuple(sorted(checked))


def whole(field: str, value: object) -> int:
    """Check that ``value`` is an int from 1 to the largest size that a network may have, and return it."""
    return check_int(field, value, 1, LARGEST)


def depth(field: str, value: object) -> int:
    """Check that ``value`` is an int from 1 to the largest number of layers, heads or blocks, and return it."""
    return check_int(field, value, 1, MOST_LAYERS)


def odd(field: str, value: object) -> int:
    """Check that ``value`` is an odd int above 0 and a size that a kernel may have, and return it."""
    if whole(field, value) % 2 == 0:
        raise bad_value(field, value, 'an odd number')
    return whole(field, value)


def positive(field: str, value: object) -> float:
    """Check that ``value`` is a number above 0, and return it as a float."""
    return check_float(field, value, 0, above=True)
