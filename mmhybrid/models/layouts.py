"""Layouts, which describe as data how released checkpoints name their tensors; ``released_*.py`` has each family's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmhybrid.archs.base import NetworkArch

Rules = tuple[tuple[re.Pattern[str], str], ...]


@dataclass(frozen=True)
class Layout:
    """The rules by which some of a family's released checkpoints are recognised and renamed.

    Args:
        marker: Name of a tensor that only checkpoints of this layout have.
        rules: Patterns for the beginnings of released names, with their replacements; the first pattern that matches
            applies. If the names depend on the architecture, a function from the architecture to the rules.
        read_arch: Function that reads an architecture from the tensors, such as
            :func:`mmhybrid.models.released_glnet.read_arch`; None if the architecture is always a preset.
    """

    marker: str
    rules: Rules | Callable[[Any], Rules]
    read_arch: Callable[[Mapping[str, Tensor], int | None, int | None], str | dict[str, Any]] | None = None

    def rules_of(self, arch: NetworkArch) -> Rules:
        """Return the rules for a network of this architecture."""
        return self.rules(arch) if callable(self.rules) else self.rules


def renaming(renamed: Mapping[str, str], released: str = '', ours: str = '') -> Rules:
    """Return rules that rename the beginnings of names.

    Args:
        renamed: Beginnings of released names, and the names that replace them.
        released: Pattern in front of each released name.
        ours: Replacement of that pattern.
    """
    return tuple((re.compile(released + re.escape(old)), ours + new) for old, new in renamed.items())
