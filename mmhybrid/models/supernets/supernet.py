"""The supernet: shared weights, and a standalone backbone that looks at them.

A subnet here is an ordinary backbone whose parameters and buffers are parts of the shared tensors, put into place just
before it runs. It therefore computes what the standalone backbone with exported weights computes, by construction, and
a backbone needs no elastic twin: two networks share what has the same name (see :mod:`.sharing` for the sizes).
"""

import itertools
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.archs.base import plain_arch
from mmhybrid.models.backbones.base import HybridBackbone, channel_axis, output_widths
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.supernets.sharing import Slice, channel_axes
from mmhybrid.models.supernets.start import FROM_NETWORK, starting_network
from mmhybrid.registry import MODELS, SCOPE, SEARCH_SPACES
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_choice, check_list

CACHED_SUBNETS = 8


@dataclass(frozen=True)
class Binding:
    """One tensor of a subnet, by its name in a layer, and the part of the shared one that it is."""

    layer: dict[str, Tensor | None]
    shared: dict[str, Tensor | None]
    name: str
    part: Slice

    def refresh(self) -> None:
        """Look at the shared tensor as it is now."""
        tensor = self.shared[self.name]
        assert tensor is not None
        self.layer[self.name] = self.part.of(tensor)


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
        self.separate = tuple(check_list('separate', separate))
        self.arch = self.space.largest()
        self.backbone_cfg = dict(backbone)
        if 'arch' in self.backbone_cfg:
            raise ValueError('supernet backbone: surplus arch, which the space decides')
        self.register_load_state_dict_post_hook(_forget_subnets)
        self._subnets: OrderedDict[Arch, tuple[HybridBackbone, list[Binding]]] = OrderedDict()
        self.weights = self._build(self.arch)
        self._check_separate()
        self._rename(self.weights, self.arch)
        widths = []
        for arch in covering_archs(self.space, joint=bool(self.separate)):
            network = self._build_on_meta(arch)
            # the largest is at its widest everywhere, but in a network with fewer stages other stages are the outputs
            if arch == self.arch or self._num_stages(arch) != self._num_stages(self.arch):
                widths.append(output_widths(network, self.backbone_cfg.get('in_channels', 3)))
            if self._adds(network, arch):
                other = self._build(arch)
                self._rename(other, arch)
                _graft(self.weights, other)
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
            for binding in self._bind(network, self.arch):
                shared, own = binding.shared[binding.name], binding.layer[binding.name]
                assert shared is not None
                assert own is not None
                binding.part.put(shared, own)

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
        if self.arch not in self._subnets:
            network = self._build_on_meta(self.arch)
            if any(isinstance(layer, nn.SyncBatchNorm) for layer in self.weights.modules()):
                # MMEngine's ``sync_bn`` converts what it finds: the shared layers
                with torch.device('meta'):
                    network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
            self._subnets[self.arch] = network.train(self.training), self._bind(network, self.arch)
            if len(self._subnets) > CACHED_SUBNETS:
                self._subnets.popitem(last=False)
        self._subnets.move_to_end(self.arch)
        network, bindings = self._subnets[self.arch]
        for binding in bindings:
            binding.refresh()
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
        name_in_block = re.sub('@[^.]*', '', param_name)  # a candidate is as deep as its block
        return self.weights.get_layer_depth(name_in_block, f'{prefix}weights.')

    def __getstate__(self) -> dict[str, Any]:
        """Without the subnets, which hold no state of their own, so that models can be copied (EMA)."""
        return {**self.__dict__, '_subnets': OrderedDict()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'Supernet':
        _forget_subnets(self, None)
        return super()._apply(fn, recurse)

    def _build(self, arch: Arch) -> HybridBackbone:
        return MODELS.build({**self.backbone_cfg, 'arch': self.space.decode(arch)})

    def _build_on_meta(self, arch: Arch) -> HybridBackbone:
        return build_on_meta({**self.backbone_cfg, 'arch': self.space.decode(arch)})

    def _bind(self, network: HybridBackbone, arch: Arch) -> list[Binding]:
        bindings = []
        for path, layer in network.named_modules():
            owner = self.weights.get_submodule(self._shared_path(path, arch))
            for tensors, shared in ((layer._parameters, owner._parameters), (layer._buffers, owner._buffers)):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        part = Slice.between(owner, shared[name].shape, layer, tensor.shape)
                        bindings.append(Binding(tensors, shared, name, part))
        return bindings

    def _adds(self, network: HybridBackbone, arch: Arch) -> bool:
        """Whether the network of ``arch`` has a tensor that the shared ones lack or that is larger."""
        for path, layer in network.named_modules():
            owner = _find(self.weights, self._shared_path(path, arch))
            for key, tensor in _own_tensors(layer):
                have = getattr(owner, key, None)
                if owner is None or have is None or not _covers(owner, have, layer, tensor):
                    return True
        return False

    def _num_stages(self, arch: Arch) -> list[Any]:
        """The depths of the network as a whole; those within a stage have a dotted name."""
        return [arch[name] for name, choice in self.space.choices.items() if choice.is_depth and '.' not in name]

    def _shared_path(self, path: str, arch: Arch) -> str:
        """Where a layer of ``arch`` is among the shared ones."""
        parts = path.split('.')
        if parts[0] in self.separate and len(parts) > 1:
            parts[1] = _candidate(f'{parts[0]}.{parts[1]}.', parts[1], arch)
        return '.'.join(parts)

    def _check_separate(self) -> None:
        """Raise ValueError unless each block of the lists has genes of its own, and none a layer in it."""
        levels: dict[str, set[int]] = {}
        for gene in self.space.choices:
            levels.setdefault(gene.split('.')[0], set()).add(gene.count('.'))
        allowed = [name for name, _ in self.weights.named_children() if levels.get(name) == {2}]
        for name in self.separate:
            check_choice('separate', name, allowed)

    def _rename(self, network: HybridBackbone, arch: Arch) -> None:
        """Give the blocks of ``separate`` lists the names of their candidates."""
        for name in self.separate:
            blocks = network.get_submodule(name)
            named = {_candidate(f'{name}.{i}.', i, arch): block for i, block in blocks.named_children()}
            blocks._modules.clear()
            blocks._modules.update(named)


def covering_archs(space: SearchSpace, joint: bool) -> Iterator[Arch]:
    """Networks that together have every layer of the space at its largest size.

    Genes of the same field (``blocks.0.mixer``, ``blocks.1.mixer``) take the same of their values, all others the last
    one, which is the largest; ``joint`` combines the values of all fields, as candidates with separate weights need.
    In a space of several parts this goes for each of them: the largest of one may have a layer that another lacks.
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


def _candidate(prefix: str, index: str, arch: Arch) -> str:
    genes = [f'{name[len(prefix) :]}={value}' for name, value in arch.items() if name.startswith(prefix)]
    return '@'.join((index, *genes)).replace('.', '_')


def _widened(x: Tensor, width: int) -> Tensor:
    """Channels of zeros appended up to ``width``."""
    axis = channel_axis(x)
    missing = width - x.shape[axis]
    return F.pad(x, (*(0, 0) * (x.dim() - 1 - axis), 0, missing)) if missing else x


def _forget_subnets(supernet: Supernet, _: object) -> None:
    """Let go of the subnets, whose tensors would keep replaced ones in memory."""
    supernet._subnets.clear()


def _own_tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in (*layer._parameters.items(), *layer._buffers.items()):
        if tensor is not None:
            yield key, tensor


def _covers(large: nn.Module, have: Tensor, small: nn.Module, want: Tensor) -> bool:
    sizes = zip(channel_axes(large, have.shape), channel_axes(small, want.shape), strict=True)
    return all(larger >= smaller for larger, smaller in sizes)


def _find(module: nn.Module, path: str) -> nn.Module | None:
    for name in path.split('.') if path else ():
        found = module._modules.get(name)
        if found is None:
            return None
        module = found
    return module


def _graft(ours: nn.Module, theirs: nn.Module) -> None:
    """Add to ``ours`` the layers of ``theirs`` that it lacks, and take the larger of those that both have."""
    for name, layer in theirs.named_children():
        mine = ours._modules.get(name)
        if mine is None:
            ours.__dict__.pop(name, None)  # where a layer is optional, None stands in its place
            ours.add_module(name, layer)
        elif not any(True for _ in mine.children()) and not all(
            _covers(mine, getattr(mine, key), layer, tensor) for key, tensor in _own_tensors(layer)
        ):
            ours._modules[name] = layer
        else:
            _graft(mine, layer)
    for key, tensor in _own_tensors(theirs):
        have = getattr(ours, key, None)
        if have is None or not _covers(ours, have, theirs, tensor):
            tensors: dict[str, Any] = ours._parameters if key in theirs._parameters else ours._buffers
            tensors[key] = tensor
