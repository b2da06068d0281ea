"""Subnets, which are standalone networks whose tensors are parts of shared ones, and a cache of the latest subnets."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from mmhybrid.models.supernets.sharing import Slice
from mmhybrid.models.supernets.union import find
from mmhybrid.space import Arch

CACHED_SUBNETS = 8
Network = TypeVar('Network', bound=nn.Module)


@dataclass(frozen=True)
class Binding:
    """The link between a tensor of a subnet and the part of the shared tensor that it is."""

    layer: dict[str, Tensor | None]
    shared: dict[str, Tensor | None]
    name: str
    part: Slice

    def refresh(self) -> None:
        """Point the subnet's tensor to the shared tensor as it is now."""
        tensor = self.shared[self.name]
        assert tensor is not None
        self.layer[self.name] = self.part.of(tensor)

    def put(self) -> None:
        """Write the subnet's tensor into its part of the shared tensor."""
        shared, own = self.shared[self.name], self.layer[self.name]
        assert shared is not None
        assert own is not None
        self.part.put(shared, own)


def bind(network: nn.Module, weights: nn.Module, path_of: Callable[[str], str]) -> list[Binding]:
    """Return the bindings of all tensors of a network to parts of shared tensors.

    Args:
        network: Network to bind.
        weights: Module whose layers have the shared tensors.
        path_of: Function from the path of a layer in the network to its path in ``weights``.
    """
    bindings = []
    for path, layer in network.named_modules():
        owner: Any = find(weights, path_of(path))
        assert owner is not None, path
        for tensors, shared in ((layer._parameters, owner._parameters), (layer._buffers, owner._buffers)):
            for name, tensor in tensors.items():
                if tensor is not None:
                    part = Slice.between(owner, shared[name].shape, layer, tensor.shape)
                    bindings.append(Binding(tensors, shared, name, part))
    return bindings


def synchronised_as(weights: nn.Module, network: Network) -> Network:
    """Return a network with synchronised batch norms if the shared layers have them.

    MMEngine's ``sync_bn`` converts only the layers that it finds, which are the shared ones.
    """
    if not any(isinstance(layer, nn.SyncBatchNorm) for layer in weights.modules()):
        return network
    with torch.device('meta'):
        converted: Network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return converted


class LatestSubnets(Generic[Network]):
    """A cache of the subnets used last; it is empty after a copy, since subnets have no state of their own."""

    def __init__(self) -> None:
        self._subnets: OrderedDict[Arch, tuple[Network, list[Binding]]] = OrderedDict()

    def __reduce__(self) -> tuple[type['LatestSubnets'], tuple[()]]:
        return LatestSubnets, ()

    def get(self, arch: Arch, make: Callable[[], tuple[Network, list[Binding]]]) -> Network:
        """Return the subnet of ``arch`` on the shared tensors as they are now; ``make`` builds it if none is cached."""
        if arch not in self._subnets:
            self._subnets[arch] = make()
            if len(self._subnets) > CACHED_SUBNETS:
                self._subnets.popitem(last=False)
        self._subnets.move_to_end(arch)
        network, bindings = self._subnets[arch]
        for binding in bindings:
            binding.refresh()
        return network

    def clear(self) -> None:
        """Drop all subnets, because their tensors would keep replaced ones in memory."""
        self._subnets.clear()

    def __len__(self) -> int:
        return len(self._subnets)
