"""The neck and the heads around a backbone, as parts of the cost of a whole detector or segmentor."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmhybrid.counting.complexity import run_layers
from mmhybrid.counting.operations import Operation, PartCost, trace
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.fitting import with_widths
from mmhybrid.models.parts import Part, sides
from mmhybrid.registry import MODELS
from mmhybrid.utils.checks import bad_value

KIND = 'surroundings'
# These fields of a model's config do not describe what is around its backbone, or matter only for training and
# evaluation.
ELSEWHERE = ('backbone', 'data_preprocessor', 'train_cfg', 'init_cfg', 'pretrained')
# No cost depends on these fields of its components.
WITHOUT_COST = ('test_cfg', 'train_cfg', 'init_cfg')
Shape = tuple[int, ...]


class Surroundings:
    """The neck and the heads around a backbone, divided into parts by the widths on which they depend.

    A stand-in for the backbone returns maps without values. The model is built again for each map with this map alone
    wider. The operations and weights that then change depend on the width of that output; those that never change are
    one part that all networks have. So FPN has one part for each output, which holds its lateral layer, and RTMDet's
    neck also has parts that depend on two neighbouring outputs together.

    Args:
        model: Config from :func:`surroundings_of`; its ``_scope_`` names the host of its components.

    Raises:
        Exception: If a host cannot build the model, whatever it then raises.
    """

    def __init__(self, model: Mapping[str, Any]) -> None:
        self.config = ConfigDict(model)  # hosts read configs by attributes
        self._counted: dict[tuple[Shape, ...], _Counted] = {}
        self._groups: dict[tuple[Shape, ...], dict[Shape, _Group]] = {}

    def parts(self, maps: Sequence[Shape], image: Shape) -> list[Part]:
        """Return the parts for a backbone whose outputs are ``maps``, each (C, H, W), for an ``image`` (C, H, W)."""
        found = []
        for places in self._groups_of(maps, image):
            widths = {f'out{place}': maps[place][0] for place in places}
            found.append(Part(KIND, {**sides(*image[1:]), **widths}))
        return found

    def costs(self, maps: Sequence[Shape], image: Shape) -> dict[str, PartCost]:
        """Return the cost of each part of :meth:`parts` by the part's key.

        Raises:
            ValueError: If the model has other layers than at the widths by which its parts were divided, for instance
                because a layer is left out between equal widths.
        """
        counted = self._count(maps, image)
        groups: Collection[_Group] = self._groups_of(maps, image).values()
        if len(groups) == 1:  # one part holds everything at these widths
            groups = [_Group(range(len(counted.operations)), list(counted.params))]
        elif not counted.is_made_of(groups):
            widths = [shape[0] for shape in maps]
            raise bad_value('widths of the backbone', widths, 'those at which neck and heads have the layers of others')
        return {
            part.key: PartCost(
                sum(counted.params[name] for name in group.params),
                sum(counted.operations[i].macs for i in group.operations),
                tuple(counted.operations[i] for i in group.operations),
            )
            for part, group in zip(self.parts(maps, image), groups, strict=True)
        }

    def build(self, backbone: nn.Module, widths: Sequence[int]) -> nn.Module:
        """Return the whole model with random weights around a backbone whose outputs have these widths."""

        def built() -> nn.Module:  # some hosts refuse a backbone that is already built
            return backbone

        model: nn.Module = MODELS.build({**with_widths(self.config, widths), 'backbone': {'type': built}})
        return Layers(model)

    def _groups_of(self, maps: Sequence[Shape], image: Shape) -> dict[Shape, '_Group']:
        """Return groups of operations and weights that depend on the same outputs, by the indices of these outputs."""
        sizes = (image, *(shape[1:] for shape in maps))
        if sizes not in self._groups:
            base = self._count(maps, image)
            wider = [
                self._count(
                    [(2 * shape[0], *shape[1:]) if i == place else shape for i, shape in enumerate(maps)], image
                )
                for place in range(len(maps))
            ]
            self._groups[sizes] = _grouped(base, wider)
        return self._groups[sizes]

    def _count(self, maps: Sequence[Shape], image: Shape) -> '_Counted':
        key = (image, *maps)
        if key not in self._counted:
            config = with_widths(self.config, [shape[0] for shape in maps])
            model = build_on_meta({**config, 'backbone': {'type': _Handing, 'maps': [tuple(shape) for shape in maps]}})
            params = {name: parameter.numel() for name, parameter in model.named_parameters()}
            self._counted[key] = _Counted(tuple(trace(Layers(model).eval(), [image])), params)
        return self._counted[key]


class Layers(nn.Module):
    """A model of OpenMMLab as a function from images to the outputs of its heads, without decoding."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Return the outputs of the heads for normalised images (B, C, H, W)."""
        return run_layers(self.model, images)


class _Handing(nn.Module):
    """A stand-in for a backbone that returns maps (C, H, W) without values for any images."""

    def __init__(self, maps: Sequence[Shape]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty(len(images), *shape, device=images.device) for shape in self.maps)


@dataclass(frozen=True)
class _Counted:
    """Operations in their order, and numbers of parameters by name."""

    operations: tuple[Operation, ...]
    params: Mapping[str, int]

    def is_made_of(self, groups: Collection['_Group']) -> bool:
        """Return whether the groups have exactly these operations and parameters."""
        names = {name for group in groups for name in group.params}
        return names == self.params.keys() and len(self.operations) == sum(len(group.operations) for group in groups)


@dataclass(frozen=True)
class _Group:
    """Indices of operations and names of parameters that depend on the same outputs."""

    operations: Sequence[int]
    params: Sequence[str]


def _grouped(base: _Counted, wider: Sequence[_Counted]) -> dict[Shape, _Group]:
    if any(len(w.operations) != len(base.operations) or w.params.keys() != base.params.keys() for w in wider):
        # A width decides which layers there are, so everything depends on all outputs.
        return {tuple(range(len(wider))): _Group(range(len(base.operations)), list(base.params))}
    places = [
        tuple(k for k, other in enumerate(wider) if other.operations[i] != operation)
        for i, operation in enumerate(base.operations)
    ]
    names = {
        name: tuple(k for k, other in enumerate(wider) if other.params[name] != count)
        for name, count in base.params.items()
    }
    return {
        group: _Group(
            [i for i, place in enumerate(places) if place == group],
            [name for name, place in names.items() if place == group],
        )
        for group in sorted({*places, *names.values()})
    }


def surroundings_of(model: Mapping[str, Any], scope: str | None) -> dict[str, Any] | None:
    """Return the config of what is around the backbone of a detector or segmentor.

    It is None for a classifier or a backbone alone.

    Args:
        model: Config of the model.
        scope: Host of its components, where they do not name it.
    """
    if not any(name.endswith('_head') for name, part in model.items() if part):
        return None
    around = {name: value for name, value in model.items() if name not in ELSEWHERE}
    if 'train_cfg' in model:
        around['train_cfg'] = None  # some detectors require this argument
    return {'_scope_': scope, **around} if scope is not None else around


def described(config: Any) -> Any:
    """Return the fields of a config on which a cost depends, as JSON, so that two configs can be compared."""
    if isinstance(config, Mapping):
        kept = {
            name: value for name, value in config.items() if name not in WITHOUT_COST and not name.startswith('loss')
        }
        return {name: described(value) for name, value in kept.items()}
    if isinstance(config, list | tuple):
        return [described(value) for value in config]
    if config is None or isinstance(config, str | int | float):
        return config
    return f'{config.__module__}.{config.__qualname__}' if isinstance(config, type) else repr(config)
