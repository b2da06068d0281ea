"""Lists of blocks in which every candidate keeps weights of its own (single path), and the names of these weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_choice


@dataclass(frozen=True)
class SinglePath:
    """Where the candidates of blocks are among the shared weights: ``blocks.0@kernel_size=31.norm1``, for instance.

    Args:
        lists: Names of the lists of blocks; none for a supernet in which all candidates share.
    """

    lists: tuple[str, ...]

    def check(self, space: SearchSpace, network: nn.Module) -> None:
        """Raise ValueError unless each block of the lists has genes of its own, and none a layer in it."""
        levels: dict[str, set[int]] = {}
        for gene in space.choices:
            levels.setdefault(gene.split('.')[0], set()).add(gene.count('.'))
        allowed = [name for name, _ in network.named_children() if levels.get(name) == {2}]
        for name in self.lists:
            check_choice('separate', name, allowed)

    def shared_path(self, path: str, arch: Arch) -> str:
        """Where a layer of the network of ``arch`` is among the shared ones."""
        parts = path.split('.')
        if parts[0] in self.lists and len(parts) > 1:
            parts[1] = _candidate(f'{parts[0]}.{parts[1]}.', parts[1], arch)
        return '.'.join(parts)

    def rename(self, network: nn.Module, arch: Arch) -> None:
        """Give the blocks of the lists the names of their candidates."""
        for name in self.lists:
            blocks = network.get_submodule(name)
            named = {_candidate(f'{name}.{i}.', i, arch): block for i, block in blocks.named_children()}
            blocks._modules.clear()
            blocks._modules.update(named)


def name_in_block(name: str) -> str:
    """The name of a shared parameter as a network has it, without that of its candidate."""
    return re.sub('@[^.]*', '', name)


def _candidate(prefix: str, index: str, arch: Mapping[str, Any]) -> str:
    genes = [f'{name[len(prefix) :]}={value}' for name, value in arch.items() if name.startswith(prefix)]
    return '@'.join((index, *genes)).replace('.', '_')
