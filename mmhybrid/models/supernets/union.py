"""The union of weights: every layer of the networks of a space, at its largest size.

Networks share the layers of the same name; :mod:`.sharing` describes which part of a tensor a smaller layer uses.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from mmhybrid.models.supernets.sharing import channel_axes
from mmhybrid.space import Arch, SearchSpace


def covering_archs(space: SearchSpace, joint: bool) -> Iterator[Arch]:
    """Yield networks that together have every layer of the space at its largest size.

    Each network varies one field: all genes of that field (``blocks.0.mixer``, ``blocks.1.mixer``) take the value of
    the same index, and all other genes take their last value, which is the largest. With ``joint``, the values of all
    fields are combined, as candidates with separate weights need. A space of several parts yields networks of each
    part, since a part may have a layer that the largest network of another part lacks.
    """
    fields: dict[str, int] = {}
    for name, choice in space.choices.items():
        field = name.rsplit('.', 1)[-1]
        fields[field] = max(fields.get(field, 0), len(choice.values))
    if joint:
        picks: Iterable[dict[str, int]] = (
            dict(zip(fields, indices, strict=True)) for indices in itertools.product(*map(range, fields.values()))
        )
    else:
        picks = ({field: index} for field, count in fields.items() for index in range(count))
    seen = set()
    for pick in picks:

        def choose(name: str, options: tuple[Any, ...], pick: dict[str, int] = pick) -> Any:
            return options[min(pick.get(name.rsplit('.', 1)[-1], len(options) - 1), len(options) - 1)]

        for part in range(space.num_parts):
            arch = space.walk(choose, part)
            if arch not in seen:
                seen.add(arch)
                yield arch


def adds_to(weights: nn.Module, network: nn.Module, path_of: Callable[[str], str]) -> bool:
    """Return whether a network has a tensor that the union lacks or has at a smaller size.

    Args:
        weights: Union of weights so far.
        network: Network to compare with it.
        path_of: Function from the path of a layer in the network to its path in the union.
    """
    for path, layer in network.named_modules():
        owner = find(weights, path_of(path))
        for key, tensor in _own_tensors(layer):
            have = getattr(owner, key, None)
            if owner is None or have is None or not _covers(owner, have, layer, tensor):
                return True
    return False


def graft(ours: nn.Module, theirs: nn.Module) -> None:
    """Add to ``ours`` the layers of ``theirs`` that it lacks, and of layers that both have, keep the larger."""
    for name, layer in theirs.named_children():
        mine = ours._modules.get(name)
        if mine is None:
            ours.__dict__.pop(name, None)  # an optional layer that is absent is a plain attribute, None
            ours.add_module(name, layer)
        elif not any(True for _ in mine.children()) and not all(
            _covers(mine, getattr(mine, key), layer, tensor) for key, tensor in _own_tensors(layer)
        ):
            ours._modules[name] = layer
        else:
            graft(mine, layer)
    for key, tensor in _own_tensors(theirs):
        have = getattr(ours, key, None)
        if have is None or not _covers(ours, have, theirs, tensor):
            tensors: dict[str, Any] = ours._parameters if key in theirs._parameters else ours._buffers
            tensors[key] = tensor


def _own_tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in (*layer._parameters.items(), *layer._buffers.items()):
        if tensor is not None:
            yield key, tensor


def _covers(large: nn.Module, have: Tensor, small: nn.Module, want: Tensor) -> bool:
    sizes = zip(channel_axes(large, have.shape), channel_axes(small, want.shape), strict=True)
    return all(larger >= smaller for larger, smaller in sizes)


def find(module: nn.Module, path: str) -> nn.Module | None:
    """Return the layer of that path, or None if there is none, in a tenth of the time that ``get_submodule`` takes."""
    for name in path.split('.') if path else ():
        found = module._modules.get(name)
        if found is None:
            return None
        module = found
    return module
