"""Single-path weights: in some lists of blocks, every candidate has its own weights, with a name of their own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_choice


@dataclass(frozen=True)
class SinglePath:
    """The names of candidates among the shared weights, such as ``blocks.0@kernel_size=31.norm1``.

    Args:
        lists: Names of the lists of blocks; empty for a supernet in which all candidates share weights.
    """

    lists: tuple[str, ...]

    def check(self, space: SearchSpace, network: nn.Module) -> None:
        """Raise a ValueError unless the genes of each list belong to its blocks, as in ``blocks.0.kernel_size``."""
        levels: dict[str, set[int]] = {}
        for gene in space.choices:
            levels.setdefault(gene.split('.')[0], set()).add(gene.count('.'))
        allowed = [name for name, _ in network.named_children() if levels.get(name) == {2}]
        for name in self.lists:
            check_choice('separate', name, allowed)

    def shared_path(self, path: str, arch: Arch) -> str:
        """Return the path among the shared weights of a layer of the network of ``arch``."""
        parts = path.split('.')
        if parts[0] in self.lists and len(parts) > 1:
            parts[1] = _candidate(f'{parts[0]}.{parts[1]}.', parts[1], arch)
        return '.'.join(parts)

    def rename(self, network: nn.Module, arch: Arch) -> None:
        """Rename the blocks of the lists in ``network`` after their candidates."""
        for name in self.lists:
            blocks = network.get_submodule(name)
            named = {_candidate(f'{name}.{i}.', i, arch): block for i, block in blocks.named_children()}
            blocks._modules.clear()
            blocks._modules.update(named)


def name_in_block(name: str) -> str:
    """Return the name that a shared parameter has in a network, without the genes of its candidate."""
    return re.sub('@[^.]*', '', name)


def _candidate(prefix: str, index: str, arch: Mapping[str, Any]) -> str:
    genes = [f'{name[len(prefix) :]}={value}' for name, value in arch.items() if name.startswith(prefix)]
    return '@'.join((index, *genes)).replace('.', '_')
