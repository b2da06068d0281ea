"""The one description of a network that everything passes around."""

import json
import math
from collections.abc import ItemsView, Iterator, Mapping

from typing_extensions import Self

from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import parse_json

Value = int | float | str | bool


class Arch(Mapping[str, Value]):
    """An architecture: an immutable, hashable mapping of gene name to value.

    Two archs are equal when their genes are; a :class:`SearchSpace` drops the genes without effect, so that equal
    networks are equal archs.

    Args:
        genes: Gene name to int, finite float, str or bool.

    Raises:
        ValueError: If ``genes`` is no mapping, or a name or value has another type.
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
        """Adopt a dict that needs no check and that nobody else holds."""
        arch = object.__new__(cls)
        arch._genes = genes
        arch._hash = None
        return arch

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is no JSON object of gene values.
        """
        try:
            genes = parse_json(text)
        except ValueError as error:
            raise ValueError(f'arch: not JSON ({error}), allowed: a JSON object of gene name to value') from error
        return cls(genes)

    def to_json(self) -> str:
        """One line of JSON, the genes sorted by name."""
        return json.dumps(self._genes, sort_keys=True)

    def __getitem__(self, name: str) -> Value:
        return self._genes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._genes)

    def __len__(self) -> int:
        return len(self._genes)

    def items(self) -> ItemsView[str, Value]:
        """Names and values; faster than what a mapping inherits."""
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
    """Raise ValueError unless ``value`` may be a gene's."""
    if not isinstance(value, int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise bad_value(name, value, 'an int, a finite float, a str or a bool')


def same_value(a: object, b: object) -> bool:
    """Equality that keeps True and 1 apart; 2 and 2.0 are the same."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)
