"""The architecture that search spaces, backbones and searches pass to each other."""

import json
import math
from collections.abc import ItemsView, Iterator, Mapping

from typing_extensions import Self

from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import parse_json

Value = int | float | str | bool


class Arch(Mapping[str, Value]):
    """An architecture: an immutable, hashable mapping from gene names to values.

    Two architectures are equal if their genes are. A :class:`SearchSpace` removes genes without effect, so two
    descriptions of the same network are equal.

    Args:
        genes: Mapping from gene names to ints, finite floats, strings or bools.

    Raises:
        ValueError: If ``genes`` is not a mapping, or a name or a value has another type.
    """

    __slots__ = ('_genes', '_hash')

    def __init__(self, genes: Mapping[str, Value]) -> None:
        if not isinstance(genes, Mapping):
            raise bad_value('arch', genes, 'a mapping of gene name to value')
        for name, value in genes.items():
            if not isinstance(name, str):
                raise bad_value('arch', name, 'gene names that are strings')
            check_value(name, value)
        self._genes = dict(genes)
        self._hash: int | None = None

    @classmethod
    def _trusted(cls, genes: dict[str, Value]) -> Self:
        """Make an architecture from a dict without checking or copying it; nobody else may hold the dict."""
        arch = object.__new__(cls)
        arch._genes = genes
        arch._hash = None
        return arch

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read an architecture from the JSON that :meth:`to_json` writes.

        Raises:
            ValueError: If the text is not a JSON object of gene values.
        """
        try:
            genes = parse_json(text)
        except ValueError as error:
            raise ValueError(f'arch: not JSON ({error}), allowed: a JSON object of gene name to value') from error
        return cls(genes)

    def to_json(self) -> str:
        """Return the genes as one line of JSON, sorted by name."""
        return json.dumps(self._genes, sort_keys=True)

    def __getitem__(self, name: str) -> Value:
        return self._genes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._genes)

    def __len__(self) -> int:
        return len(self._genes)

    def items(self) -> ItemsView[str, Value]:
        """Return the names and values; this is faster than the method inherited from ``Mapping``."""
        return self._genes.items()

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._genes.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self._genes == other._genes if isinstance(other, Arch) else NotImplemented

    def __reduce__(self) -> tuple[type['Arch'], tuple[dict[str, Value]]]:
        return type(self), (self._genes,)

    def __repr__(self) -> str:
        return f'Arch({self._genes!r})'


def check_value(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a valid value of a gene."""
    if not isinstance(value, int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise bad_value(name, value, 'an int, a finite float, a str or a bool')


def same_value(a: object, b: object) -> bool:
    """Return whether two values are equal and both or neither are bools: True differs from 1, but 2 equals 2.0."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)
