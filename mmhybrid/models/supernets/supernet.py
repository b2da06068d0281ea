"""The supernet: shared weights, and standalone backbones whose tensors are parts of them.

A subnet is an ordinary backbone whose parameters and buffers are parts of the shared tensors, set just before it runs.
By construction, it computes the same as a standalone backbone with the exported weights, and a backbone needs no
second, elastic implementation. Networks share the layers of the same name (:mod:`.sharing` describes which parts).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional as F

from mmhybrid.archs.base import plain_arch
from mmhybrid.models.backbones.base import HybridBackbone, channel_axis, output_widths
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.layers.copies import Blocks
from mmhybrid.models.supernets.single_path import SinglePath, name_in_block
from mmhybrid.models.supernets.start import FROM_NETWORK, starting_network
from mmhybrid.models.supernets.subnets import Binding, LatestSubnets, bind, synchronised_as
from mmhybrid.models.supernets.union import adds_to, covering_archs, graft
from mmhybrid.registry import MODELS, SCOPE, SEARCH_SPACES
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_list


@MODELS.register_module()
class Supernet(BaseModule):
    """Backbone that holds all networks of a search space in one set of weights and runs the active one.

    Args:
        space: Config of a search space, such as ``dict(type='mmhybrid.AutoViTSpace')``.
        backbone: Config of the backbone, such as ``dict(type='mmhybrid.AutoViT')``, without ``arch``, which the space
            decides.
        separate: Names of lists of blocks, such as ``blocks`` of GLiT, in which every candidate of a block has its own
            weights (single path) instead of sharing them with the other candidates. The genes of block i must be named
            ``<list>.<i>.<gene>``.
        init_cfg: Initialisation config of MMEngine; or one of type ``mmhybrid.FromNetwork``, which starts from a
            trained network (see :func:`starting_network`), whose tensors become the parts for its own architecture.

    Raises:
        ValueError: If ``backbone`` has ``arch``, or a list in ``separate`` has no genes of this form.
    """

    init_cfg: Any

    has_deployed_form = False  # folding would change the weights that its networks share

    def __init__(
        self,
        space: Mapping[str, Any],
        backbone: Mapping[str, Any],
        separate: Iterable[str] = (),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.space: SearchSpace = SEARCH_SPACES.build(dict(space))
        self.single_path = SinglePath(tuple(check_list('separate', separate)))
        self.arch = self.space.largest()
        self.backbone_cfg = dict(backbone)
        if 'arch' in self.backbone_cfg:
            raise ValueError('supernet backbone: surplus arch, which the space decides')
        self.register_load_state_dict_post_hook(_forget_subnets)
        self._subnets: LatestSubnets[HybridBackbone] = LatestSubnets()
        self._blocks = Blocks()
        self.weights = self._build(self.arch)
        self.single_path.check(self.space, self.weights)
        self.single_path.rename(self.weights, self.arch)
        widths = []
        for arch in covering_archs(self.space, joint=bool(self.single_path.lists)):
            network = self._outline(arch)
            # the largest network has the widest stages, but a network with fewer stages outputs other stages
            if arch == self.arch or self._num_stages(arch) != self._num_stages(self.arch):
                widths.append(output_widths(network, self.backbone_cfg.get('in_channels', 3)))
            if adds_to(self.weights, network, partial(self.single_path.shared_path, arch=arch)):
                other = self._build(arch)
                self.single_path.rename(other, arch)
                graft(self.weights, other)
        self.out_channels = tuple(max(sizes) for sizes in zip(*widths, strict=True))

    def init_weights(self) -> None:
        """Initialise the weights; a network that ``init_cfg`` starts from becomes the active one."""
        start = self.init_cfg
        if not isinstance(start, Mapping) or str(start.get('type')).removeprefix(SCOPE) != FROM_NETWORK:
            super().init_weights()
            return
        network, arch, new = starting_network(start, self.space, self.backbone_cfg)
        self.init_cfg = None
        super().init_weights()
        self.init_cfg = start
        self.set_arch(arch)
        for layer in new:
            network.get_submodule(layer).load_state_dict(self.subnet.get_submodule(layer).state_dict())
        self._take(network)

    def _take(self, network: HybridBackbone) -> None:
        """Write the tensors of a network into the shared ones, at the parts of the active network."""
        with torch.no_grad():
            for binding in self._bind(network):
                binding.put()

    def set_arch(self, arch: Mapping[str, Any]) -> None:
        """Make the network of ``arch`` the active one.

        Raises:
            ValueError: If ``arch`` is not in the space, with the reason.
        """
        reason = self.space.why_not(arch)
        if reason is not None:
            raise ValueError(f'arch is not in the space of the supernet: {reason}')
        self.arch = self.space.canonical(arch)

    @property
    def subnet(self) -> HybridBackbone:
        """The active network, whose tensors are parts of the shared ones as they are now."""
        network = self._subnets.get(self.arch, self._make_subnet)
        if network.training != self.training:
            network.train(self.training)
        return network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the active network, padded with channels of zeros to the widest network's width.

        A head or neck for the widest network therefore fits all networks: of its input channels, narrower networks use
        the leading ones. Padding keeps the memory format, so the outputs are contiguous as the network's are.
        """
        return tuple(_widened(out, width) for out, width in zip(self.subnet(x), self.out_channels, strict=True))

    def export(self, arch: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the config and the weights of a standalone backbone.

        Args:
            arch: Architecture to export; None for the active one. The active architecture does not change.

        Returns:
            The config of the backbone with ``arch``, and its state dict, which is a copy.
        """
        active = self.arch
        self.set_arch(active if arch is None else arch)
        try:
            weights = {name: tensor.detach().clone() for name, tensor in self.subnet.state_dict().items()}
            return {**self.backbone_cfg, 'arch': plain_arch(self.space.decode(self.arch))}, weights
        finally:
            self.arch = active

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth in the largest backbone, see :meth:`HybridBackbone.get_layer_depth`."""
        # without the genes, since all candidates of a block have its depth
        return self.weights.get_layer_depth(name_in_block(param_name), f'{prefix}weights.')

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without cached blocks, which have no state of their own, so that EMA can copy the model."""
        return {**self.__dict__, '_blocks': Blocks()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'Supernet':
        _forget_subnets(self, None)
        return super()._apply(fn, recurse)

    def _build(self, arch: Arch) -> HybridBackbone:
        return MODELS.build({**self.backbone_cfg, 'arch': self.space.decode(arch)})

    def _outline(self, arch: Arch) -> HybridBackbone:
        """Return a network on the meta device that is only inspected, and neither changed nor kept."""
        return self._build_on_meta(arch)

    def _build_on_meta(self, arch: Arch) -> HybridBackbone:
        return build_on_meta({**self.backbone_cfg, 'arch': self.space.decode(arch)})

    def _make_subnet(self) -> tuple[HybridBackbone, list[Binding]]:
        with self._blocks.copied():
            network = self._build_on_meta(self.arch)
        network = synchronised_as(self.weights, network)
        return network.train(self.training), self._bind(network)

    def _bind(self, network: HybridBackbone) -> list[Binding]:
        """Return the bindings of a network of the active architecture to the shared tensors."""
        return bind(network, self.weights, partial(self.single_path.shared_path, arch=self.arch))

    def _num_stages(self, arch: Arch) -> list[Any]:
        """Return the genes that are depths of the whole network; depths of a stage have dotted names."""
        return [arch[name] for name, choice in self.space.choices.items() if choice.is_depth and '.' not in name]


def _widened(x: Tensor, width: int) -> Tensor:
    """Return ``x`` with channels of zeros appended up to ``width``."""
    axis = channel_axis(x)
    missing = width - x.shape[axis]
    return F.pad(x, (*(0, 0) * (x.dim() - 1 - axis), 0, missing)) if missing else x


def _forget_subnets(supernet: Supernet, _: object) -> None:
    """Drop the subnets, because their tensors would keep replaced ones in memory."""
    supernet._subnets.clear()
