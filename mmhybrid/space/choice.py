"""What a space is made of: choices, and the rules between them."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from mmhybrid.archs.base import LARGEST, MOST_LAYERS
from mmhybrid.space.arch import Value, check_value
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_list

# Of a gene, each of which has its own list of them.
MOST_VALUES = 4096


@dataclass(frozen=True)
class Rule:
    """A condition on earlier genes and facts.

    Args:
        given: Their names.
        test: Called with their values, None for a gene without effect. It sees nothing else, which is what lets a
            space be counted without being enumerated.
    """

    given: tuple[str, ...]
    test: Callable[..., bool]

    def holds(self, known: Mapping[str, object], *first: Value) -> bool:
        """The test on the values of ``given``, with ``first`` in front of them."""
        return self.test(*first, *(known[name] for name in self.given))


@dataclass(frozen=True)
class Fact:
    """What later rules need to know of earlier genes, in fewer words than the genes themselves.

    Args:
        name: A name that no gene has.
        given: Names of the genes and facts it follows from.
        compute: From their values to its own.
    """

    name: str
    given: tuple[str, ...]
    compute: Callable[..., Hashable]


@dataclass(frozen=True)
class Choice:
    """A named dimension of a space with its ordered values.

    Args:
        name: The gene's name, dotted: ``blocks.3.kernel_size`` belongs to the block ``blocks.3``.
        values: From the smallest network to the largest.
        when: Whether the gene has an effect; None for always.
        limit: Which values go with the earlier genes, called with the value first; None for all.
        is_depth: Whether it decides how many layers or stages there are.

    Raises:
        ValueError: If the name is empty, or there are no values, equal ones, or one that cannot be a gene's.
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
        """Names its rules read."""
        return tuple(name for rule in (self.when, self.limit) if rule is not None for name in rule.given)

    @property
    def block(self) -> str:
        """The part of the network it describes."""
        return self.name.rpartition('.')[0] or self.name


def ascending(field: str, values: object, check: Callable[[str, object], Any]) -> tuple[Any, ...]:
    """The values of a list, each passed through ``check``, in the order a :class:`Choice` wants.

    Raises:
        ValueError: If ``values`` is no list, is empty or too long, or ``check`` refuses one.
    """
    listed = check_list(field, values)
    if len(listed) > MOST_VALUES:
        raise bad_value(field, f'{len(listed)} values', f'at most {MOST_VALUES}')
    checked = [check(field, value) for value in listed]
    if not checked:
        raise bad_value(field, values, 'at least one value')
    return tuple(sorted(checked))


def whole(field: str, value: object) -> int:
    """A check: an int above 0, of a size that a network may have."""
    return check_int(field, value, 1, LARGEST)


def depth(field: str, value: object) -> int:
    """A check: an int above 0, of layers, heads or blocks that a network may have."""
    return check_int(field, value, 1, MOST_LAYERS)


def odd(field: str, value: object) -> int:
    """A check: an odd int above 0, the size of a kernel that a network may have."""
    if whole(field, value) % 2 == 0:
        raise bad_value(field, value, 'an odd number')
    return whole(field, value)


def positive(field: str, value: object) -> float:
    """A check: a number above 0."""
    return check_float(field, value, 0, above=True)
