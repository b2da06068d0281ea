"""How released checkpoints name their tensors: a layout is data, which a family's ``released_*.py`` holds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmhybrid.archs.base import NetworkArch

Rules = tuple[tuple[re.Pattern[str], str], ...]


@dataclass(frozen=True)
class Layout:
    """How some of a family's released checkpoints are recognised and renamed.

    Args:
        marker: A tensor that they have and no other layout's.
        rules: Beginnings of released names and what they become, or what tells these for an architecture, where the
            names depend on it; the first that matches counts.
        read_arch: Reads an architecture beyond the presets, see :func:`mmhybrid.models.released_glnet.read_arch`.
    """

    marker: str
    rules: Rules | Callable[[Any], Rules]
    read_arch: Callable[[Mapping[str, Tensor], int | None, int | None], str | dict[str, Any]] | None = None

    def rules_of(self, arch: NetworkArch) -> Rules:
        """The rules for a network of this architecture."""
        return self.rules(arch) if callable(self.rules) else self.rules


def renaming(renamed: Mapping[str, str], released: str = '', ours: str = '') -> Rules:
    """Rules that replace the beginning of a name; ``released`` is a pattern and ``ours`` its replacement."""
    return tuple((re.compile(released + re.escape(old)), ours + new) for old, new in renamed.items())
