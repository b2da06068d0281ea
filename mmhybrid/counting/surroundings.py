"""The neck and the heads around a backbone, as parts of the cost of a whole detector or segmentor."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmhybrid.counting.complexity import run_layers
from mmhybrid.counting.operations import Operation, PartCost, trace_by_layer
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.fitting import with_settings, with_widths
from mmhybrid.models.parts import Part, sides
from mmhybrid.registry import MODELS
from mmhybrid.space import Value
from mmhybrid.utils.checks import bad_value

KIND = 'surroundings'
# These fields of a model's config do not describe what is around its backbone, or matter only for training and
# evaluation.
ELSEWHERE = ('backbone', 'data_preprocessor', 'train_cfg', 'init_cfg', 'pretrained')
# No cost depends on these fields of its components.
WITHOUT_COST = ('test_cfg', 'train_cfg', 'init_cfg')
Shape = tuple[int, ...]
Places = tuple[int, ...]  # indices of outputs, followed by those of settings
Settings = Mapping[str, Value]
NOTHING: Settings = {}


class Surroundings:
    """The neck and the heads around a backbone, divided into parts by the widths on which they depend.

    A stand-in for the backbone returns maps without values. The model is built again for each map with this map alone
    wider. The operations and weights that then change depend on the width of that output; those that never change are
    one part that all networks have. So FPN has one part for each output, which holds its lateral layer, and RTMDet's
    neck also has parts that depend on two neighbouring outputs together. If settings of the model are searched too, it
    is also built with the other values of each setting, and parts are divided by the settings on which they depend.

    Args:
        model: Config from :func:`surroundings_of`; its ``_scope_`` names the library of its components.
        genes: Values of settings by their dotted names, see :class:`mmhybrid.space.WholeModelSpace`. The model with the
            last value of each setting has the layers of all others.

    Raises:
        Exception: If the library cannot build the model; it may be any error.
    """

    def __init__(self, model: Mapping[str, Any], genes: Mapping[str, Sequence[Value]] | None = None) -> None:
        self.config = ConfigDict(model)  # OpenMMLab reads configs by attributes
        self._genes = {} if genes is None else dict(genes)
        self._largest = {name: values[-1] for name, values in self._genes.items()}
        self._counted: dict[tuple[Any, ...], _Counted] = {}
        self._groups: dict[tuple[Shape, ...], dict[Places, _Group]] = {}

    def parts(self, maps: Sequence[Shape], image: Shape, settings: Settings = NOTHING) -> list[Part]:
        """Return the parts for a backbone whose outputs are ``maps``, for an ``image``, each (C, H, W)."""
        found, names = [], list(self._genes)
        for places in self._groups_of(maps, image):
            sizes: dict[str, float] = {}
            for place in places:
                if place < len(maps):
                    sizes[f'out{place}'] = maps[place][0]
                else:
                    name = names[place - len(maps)]
                    sizes[name] = settings[name]  # type: ignore[assignment]
            found.append(Part(KIND, {**sides(*image[1:]), **sizes}))
        return found

    def costs(self, maps: Sequence[Shape], image: Shape, settings: Settings = NOTHING) -> dict[str, PartCost]:
        """Return the cost of each part of :meth:`parts` by the part's key.

        Raises:
            ValueError: If the model has other layers than at the widths by which its parts were divided, for instance
                because a layer is left out between equal widths.
        """
        counted = self._count(maps, image, settings)
        groups: Collection[_Group] = self._groups_of(maps, image).values()
        if len(groups) == 1:  # one part holds everything at these widths
            groups = [_Group(list(counted.operations), list(counted.params))]
        elif not counted.is_made_of(groups, bool(self._genes)):
            widths = [shape[0] for shape in maps]
            allowed = 'widths at which neck and heads have the same layers as at others'
            raise bad_value('widths of the backbone', widths, allowed)
        return {
            part.key: counted.cost_of(group)
            for part, group in zip(self.parts(maps, image, settings), groups, strict=True)
        }

    def build(self, backbone: nn.Module, widths: Sequence[int], settings: Settings = NOTHING) -> nn.Module:
        """Return the whole model with random weights around a backbone whose outputs have these widths."""

        def built() -> nn.Module:  # some models refuse a backbone that is already built
            return backbone

        model: nn.Module = MODELS.build({**self._config_of(widths, settings), 'backbone': {'type': built}})
        return Layers(model)

    def _config_of(self, widths: Sequence[int], settings: Settings) -> dict[str, Any]:
        return with_widths(with_settings(self.config, settings), widths)

    def _groups_of(self, maps: Sequence[Shape], image: Shape) -> dict['Places', '_Group']:
        """Return groups of what depends on the same outputs and settings, by the indices of these."""
        sizes = (image, *(shape[1:] for shape in maps))
        if sizes not in self._groups:
            base = self._count(maps, image, self._largest)
            wider = [
                self._count(
                    [(2 * shape[0], *shape[1:]) if i == place else shape for i, shape in enumerate(maps)],
                    image,
                    self._largest,
                )
                for place in range(len(maps))
            ]
            smaller = [
                [self._count(maps, image, {**self._largest, name: value}) for value in values[:-1]]
                for name, values in self._genes.items()
            ]
            self._groups[sizes] = _grouped(base, wider, smaller)
        return self._groups[sizes]

    def _count(self, maps: Sequence[Shape], image: Shape, settings: Settings) -> '_Counted':
        key = (image, *maps, *settings.values())
        if key not in self._counted:
            config = self._config_of([shape[0] for shape in maps], settings)
            model = build_on_meta({**config, 'backbone': {'type': _Handing, 'maps': [tuple(shape) for shape in maps]}})
            params = {name: parameter.numel() for name, parameter in model.named_parameters()}
            self._counted[key] = _Counted(trace_by_layer(Layers(model).eval(), [image]), params)
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
    """Operations by their layers, in their order, and numbers of parameters by name."""

    operations: Mapping[tuple[str, int], Operation]
    params: Mapping[str, int]

    def is_made_of(self, groups: Collection['_Group'], or_less: bool) -> bool:
        """Return whether the groups have exactly these operations and parameters, or with ``or_less`` more."""
        names = {name for group in groups for name in group.params}
        operations = {operation for group in groups for operation in group.operations}
        if or_less:
            return names >= self.params.keys() and operations >= self.operations.keys()
        return names == self.params.keys() and operations == self.operations.keys()

    def cost_of(self, group: '_Group') -> PartCost:
        """Return the cost of those operations and parameters of a group that are here."""
        operations = tuple(self.operations[key] for key in group.operations if key in self.operations)
        params = sum(self.params.get(name, 0) for name in group.params)
        return PartCost(params, sum(operation.macs for operation in operations), operations)


@dataclass(frozen=True)
class _Group:
    """Operations and names of parameters that depend on the same outputs and settings."""

    operations: Sequence[tuple[str, int]]
    params: Sequence[str]


def _grouped(base: _Counted, wider: Sequence[_Counted], smaller: Sequence[Sequence[_Counted]]) -> dict[Places, _Group]:
    """Return the groups of ``base``, by the indices of the wider outputs and smaller settings that change them."""
    if any(w.operations.keys() != base.operations.keys() or w.params.keys() != base.params.keys() for w in wider):
        # A width decides which layers there are, so everything depends on all outputs and settings.
        everything = tuple(range(len(wider) + len(smaller)))
        return {everything: _Group(list(base.operations), list(base.params))}
    others = [*([one] for one in wider), *smaller]
    places = {
        key: tuple(k for k, some in enumerate(others) if any(one.operations.get(key) != operation for one in some))
        for key, operation in base.operations.items()
    }
    names = {
        name: tuple(k for k, some in enumerate(others) if any(one.params.get(name) != count for one in some))
        for name, count in base.params.items()
    }
    return {
        group: _Group(
            [key for key, place in places.items() if place == group],
            [name for name, place in names.items() if place == group],
        )
        for group in sorted({*places.values(), *names.values()})
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
