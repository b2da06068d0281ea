"""The supernet: shared weights, and a standalone backbone that looks at them.

A subnet here is an ordinary backbone whose parameters and buffers are parts of the shared tensors, put into place just
before it runs. It therefore computes what the standalone backbone with exported weights computes, by construction, and
a backbone needs no elastic twin: two networks share what has the same name (see :mod:`.sharing` for the sizes).
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
    """All networks of a search space in one set of weights, a backbone in place of a single one.

    Args:
        space: Config of a search space (``type='mmhybrid.AutoViTSpace'``).
        backbone: Config of the backbone (``type='mmhybrid.AutoViT'``) without what the space decides.
        separate: Lists of blocks, such as ``blocks`` of GLiT, in which every candidate keeps weights of its own
            (single path) instead of sharing them with the others of its place. The genes of block i must be named
            ``<list>.<i>.<gene>``.
        init_cfg: As in MMEngine, or of type ``mmhybrid.FromNetwork``, see :func:`starting_network`: begin as a trained
            network, whose tensors become the parts that its own architecture looks at.

    Raises:
        ValueError: If ``backbone`` names what the space decides, or the space does not name the blocks of a list.
    """

    init_cfg: Any

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
            # the largest is at its widest everywhere, but in a network with fewer stages other stages are the outputs
            if arch == self.arch or self._num_stages(arch) != self._num_stages(self.arch):
                widths.append(output_widths(network, self.backbone_cfg.get('in_channels', 3)))
            if adds_to(self.weights, network, partial(self.single_path.shared_path, arch=arch)):
                other = self._build(arch)
                self.single_path.rename(other, arch)
                graft(self.weights, other)
        self.out_channels = tuple(max(sizes) for sizes in zip(*widths, strict=True))

    def init_weights(self) -> None:
        """Give the weights their initial values, which may be those of a network; that is the active one then."""
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
        """Write the tensors of a network into the parts that the active one looks at."""
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
        """The active network; its tensors are parts of the shared ones as they are now."""
        network = self._subnets.get(self.arch, self._make_subnet)
        if network.training != self.training:
            network.train(self.training)
        return network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the active network returns, with channels of zeros up to the widest network's.

        A head or neck for the widest network thus serves all: on narrower ones only its leading input channels count.
        Padding keeps the memory format, so the outputs are contiguous as the network's are.
        """
        return tuple(_widened(out, width) for out, width in zip(self.subnet(x), self.out_channels, strict=True))

    def export(self, arch: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and weights of a standalone backbone.

        Args:
            arch: The network, by default the active one, which stays active.

        Returns:
            The config of the backbone with ``arch``, and a state dict of its own.
        """
        active = self.arch
        self.set_arch(active if arch is None else arch)
        try:
            weights = {name: tensor.detach().clone() for name, tensor in self.subnet.state_dict().items()}
            return {**self.backbone_cfg, 'arch': plain_arch(self.space.decode(self.arch))}, weights
        finally:
            self.arch = active

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The depth in the largest backbone, see :meth:`HybridBackbone.get_layer_depth`."""
        # a candidate is as deep as its block
        return self.weights.get_layer_depth(name_in_block(param_name), f'{prefix}weights.')

    def __getstate__(self) -> dict[str, Any]:
        """Without the blocks of subnets, which hold no state of their own, so that models can be copied (EMA)."""
        return {**self.__dict__, '_blocks': Blocks()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'Supernet':
        _forget_subnets(self, None)
        return super()._apply(fn, recurse)

    def _build(self, arch: Arch) -> HybridBackbone:
        return MODELS.build({**self.backbone_cfg, 'arch': self.space.decode(arch)})

    def _outline(self, arch: Arch) -> HybridBackbone:
        """A network that is looked at, and neither changed nor kept."""
        return self._build_on_meta(arch)

    def _build_on_meta(self, arch: Arch) -> HybridBackbone:
        return build_on_meta({**self.backbone_cfg, 'arch': self.space.decode(arch)})

    def _make_subnet(self) -> tuple[HybridBackbone, list[Binding]]:
        with self._blocks.copied():
            network = self._build_on_meta(self.arch)
        network = synchronised_as(self.weights, network)
        return network.train(self.training), self._bind(network)

    def _bind(self, network: HybridBackbone) -> list[Binding]:
        """Which part of the shared tensors each tensor of a network is that is built as the active one."""
        return bind(network, self.weights, partial(self.single_path.shared_path, arch=self.arch))

    def _num_stages(self, arch: Arch) -> list[Any]:
        """The depths of the network as a whole; those within a stage have a dotted name."""
        return [arch[name] for name, choice in self.space.choices.items() if choice.is_depth and '.' not in name]


def _widened(x: Tensor, width: int) -> Tensor:
    """Channels of zeros appended up to ``width``."""
    axis = channel_axis(x)
    missing = width - x.shape[axis]
    return F.pad(x, (*(0, 0) * (x.dim() - 1 - axis), 0, missing)) if missing else x


def _forget_subnets(supernet: Supernet, _: object) -> None:
    """Let go of the subnets, whose tensors would keep replaced ones in memory."""
    supernet._subnets.clear()
