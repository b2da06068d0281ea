"""The workload: the networks of a search space on images of one size, which are counted, estimated and measured.

This file is long because a workload is built, checked and written as plain data in one place.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from mmhybrid.counting.operations import PartCost, count_part, head_cost
from mmhybrid.counting.surroundings import Shape, Surroundings, described, surroundings_of
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.build import build_on_meta
from mmhybrid.models.classifier import Classifier, own_generator
from mmhybrid.models.input_channels import input_channels
from mmhybrid.models.parts import Part, sides, strided
from mmhybrid.registry import MODELS, SEARCH_SPACES, build_from_data, check_data
from mmhybrid.space import SearchSpace
from mmhybrid.space.arch import Value
from mmhybrid.space.base import Restriction
from mmhybrid.space.whole_model import with_genes
from mmhybrid.utils.checks import bad_value, check_int, check_keys, check_list
from mmhybrid.utils.errors import first_line

SMALLEST_SIDE = 32
# A network that is built has at most this many parameters, which take four gigabytes, because a table from others may
# describe networks of any size.
MOST_PARAMS = 2**30
InputSize = int | Sequence[int]
Size = int | tuple[int, int]  # the same, as one number if the image is square


@dataclass(frozen=True)
class WorkloadConfig:
    """A :class:`Workload` as plain data, as files hold it.

    Args:
        space: Config of the search space.
        backbone: Config of the backbone.
        input_size: Side of the image in pixels, or height and width; None if the architectures decide it.
        num_classes: Number of classes of the classifier; None for no classifier.
        around: Fields of the neck and the heads on which costs depend, for comparison; None for a backbone or a
            classifier.
    """

    space: Mapping[str, Any]
    backbone: Mapping[str, Any]
    input_size: InputSize | None
    num_classes: int | None
    around: Mapping[str, Any] | None = None

    def build(self, field: str) -> 'Workload':
        """Build the workload from registered classes only, because a file is data.

        Args:
            field: Source of the config, for messages.

        Raises:
            ValueError: If the space or the backbone is not a registered class or does not take its arguments, or if
                there are a neck and heads, since OpenMMLab's read files and programs, which data must not choose.
        """
        if self.around is not None:
            raise ValueError(
                f'{field}: its networks are whole models, {self.around.get("type")}: give their config too, as '
                'tools/export_subnet.py --table and tools/latency_report.py --config have it'
            )
        space: SearchSpace = build_from_data(SEARCH_SPACES, f'{field}: space', self.space)
        backbone = check_data(MODELS, f'{field}: backbone', self.backbone)
        return Workload(space, backbone, self.input_size, self.num_classes)


class Workload:
    """The networks of a search space, each with its backbone, its surroundings and an image.

    The surroundings are nothing, a linear classifier, or the neck and the heads of a detector or segmentor. Each part
    of a network is counted once, when it is first asked for, in a real backbone on the meta device (shapes without
    data). So a whole search should share one workload.

    Args:
        space: The search space.
        backbone: Config of the backbone (``type='mmhybrid.AutoViT'``) without the arguments that the space decides.
        input_size: Side of the image in pixels, or height and width; None if the architectures of the space decide it
            (``resolution``). For detectors and segmentors of one resolution, which resize no images, it replaces the
            architectures' size.
        num_classes: Number of classes of a linear classifier behind the backbone; None for no classifier.
        around: Config of a detector or segmentor without its backbone, from :func:`surroundings_of`; None for none.

    Attributes:
        known: Counted parts by their keys.

    Raises:
        ValueError: If an argument is wrong, or if the input size is missing or given although the architectures decide
            it.
    """

    def __init__(
        self,
        space: SearchSpace,
        backbone: Mapping[str, Any],
        input_size: InputSize | None = None,
        num_classes: int | None = None,
        around: Mapping[str, Any] | None = None,
    ) -> None:
        self.space = space
        self.backbone = dict(backbone)
        self.num_classes = None if num_classes is None else check_int('num_classes', num_classes, 1)
        check_keys('backbone', self.backbone, ('type',), set(self.backbone) - {'arch'})
        if not issubclass(MODELS.get(str(backbone['type'])) or object, HybridBackbone):
            raise bad_value('backbone.type', backbone['type'], 'a backbone that states its parts, a HybridBackbone')
        says_size = 'resolution' in space.choices
        self.input_size = _checked_size(input_size, says_size, around is not None)
        # This network states the parts of all architectures.
        self._network: HybridBackbone = build_on_meta({**self.backbone, 'arch': space.decode(space.smallest())})
        self._channels = input_channels(self._network)
        self.known: dict[str, Part] = {}
        self._costs: dict[str, PartCost] = {}
        genes = {name: space.choices[name].values for name in space.settings(space.largest())}
        self._around = None if around is None else Surroundings(around, genes)
        if self._around is not None:
            arch = space.smallest()
            self._check_maps(space.decode(arch), self.input_shape(arch))

    @classmethod
    def of_model(
        cls,
        model: Mapping[str, Any],
        input_size: InputSize | None,
        scope: str | None = None,
        default_size: InputSize | None = None,
    ) -> 'Workload':
        """Return the workload of a model's config that contains a supernet.

        For a detector or segmentor, it consists of whole models. If the heads cannot be computed from images alone, it
        consists of the backbones, and a warning says so.

        Args:
            model: Config with a ``space`` and a ``backbone`` at any depth; :func:`num_classes_of` gives its classes.
            input_size: Size of the image in pixels, for detectors and segmentors and where the architectures do not
                decide it; otherwise it is not used.
            scope: Host of the model's components, ``default_scope`` of a config.
            default_size: Size that replaces ``input_size`` if neither it nor the architectures give one.

        Raises:
            ValueError: If there is no supernet.
        """
        supernet = _supernet_in(model)
        space = space_of(model)
        says_size = 'resolution' in space.choices
        given = default_size if input_size is None and not says_size else input_size
        architecture = model.get('architecture') or {}
        around = surroundings_of(architecture, scope) if architecture.get('backbone') is supernet else None
        backbones = cls(space, supernet['backbone'], None if says_size else given, num_classes_of(model))
        if around is None:
            return backbones
        whole = cls(space, supernet['backbone'], None if space.has_resolutions else given, None, around)
        try:
            whole.parts(space.smallest())
        except Exception as error:  # OpenMMLab may raise any error
            reason = f'{type(error).__name__}: {first_line(error)}'
            warnings.warn(
                f'the costs are those of the backbone alone, because {around.get("type")} cannot be counted: {reason}',
                stacklevel=2,
            )
            return backbones
        return whole

    def to_config(self) -> WorkloadConfig:
        """Return the plain data from which :meth:`WorkloadConfig.build` builds this workload."""
        around = None if self._around is None else described(self._around.config)
        return WorkloadConfig(self.space.to_config(), self.backbone, self.input_size, self.num_classes, around)

    def restrict(self, genes: Restriction) -> 'Workload':
        """Return the workload of a part of the space, see :meth:`SearchSpace.restrict`."""
        around = None if self._around is None else self._around.config
        return Workload(self.space.restrict(genes), self.backbone, self.input_size, self.num_classes, around)

    def parts(self, arch: Mapping[str, Value]) -> list[Part]:
        """Return the parts of a network, after counting all of them.

        Raises:
            ValueError: If ``arch`` is not in the space.
        """
        return self.parts_of(self.space.decode(arch), self.input_shape(arch), self.space.settings(arch))

    def parts_of(self, decoded: Any, shape: tuple[int, int, int], settings: Mapping[str, Value]) -> list[Part]:
        """Return the parts of a network of the family, which may lie outside the space, after counting all of them.

        Args:
            decoded: Decoded ``arch`` of the backbone.
            shape: (C, H, W) of the image.
            settings: Settings of the neck and the heads, see :meth:`SearchSpace.settings`.
        """
        parts = self._parts_of(decoded, shape, settings)
        new = {part.key: part for part in parts if part.key not in self._costs}
        if new:
            network = build_on_meta({**self.backbone, 'arch': decoded}).eval()
            self.known |= new
            around = {} if self._around is None else self._around.costs(self._maps(decoded, shape), shape, settings)
            self._costs |= {key: around.get(key) or self._cost(part, network) for key, part in new.items()}
        return parts

    def cost_of(self, part: Part) -> PartCost:
        """Return the cost of a part that :meth:`parts` has returned before."""
        return self._costs[part.key]

    def list_parts(self, arch: Mapping[str, Value]) -> list[Part]:
        """Return the parts as :meth:`parts` does, but without counting new ones, which is slow."""
        return self._parts_of(self.space.decode(arch), self.input_shape(arch), self.space.settings(arch))

    def _parts_of(self, decoded: Any, shape: tuple[int, int, int], settings: Mapping[str, Value]) -> list[Part]:
        parts = [_image_part(*shape[1:]), *self._network.parts(decoded, shape)]
        if self.num_classes is not None:
            parts.append(_head_part(self._out_widths(decoded)[-1], self.num_classes))
        if self._around is not None:
            parts += self._around.parts(self._maps(decoded, shape), shape, settings)
        return parts

    @staticmethod
    def _cost(part: Part, network: nn.Module) -> PartCost:
        return head_cost(part) if part.kind == 'head' else count_part(network, part.pieces)

    def _out_widths(self, decoded: Any) -> list[int]:
        """Return the channels of the outputs of the backbone."""
        outputs = self._network.outputs(decoded)
        return [outputs[index].width for index in self._network.out_indices]

    def _maps(self, decoded: Any, shape: tuple[int, int, int]) -> list[Shape]:
        """Return the shapes of the outputs of the backbone, each (C, H, W)."""
        outputs = self._network.outputs(decoded)
        chosen = [outputs[index] for index in self._network.out_indices]
        return [(output.width, *strided(shape[1:], output.stride)) for output in chosen]

    def _check_maps(self, decoded: Any, shape: tuple[int, int, int]) -> None:
        """Raise ValueError unless the outputs of the smallest backbone are as large as its strides say."""
        with torch.no_grad():
            outs = self._network.eval()(torch.empty(1, *shape, device='meta'))
        found, expected = [tuple(out.shape[1:]) for out in outs], self._maps(decoded, shape)
        if found != expected:
            raise bad_value(
                'input_size', shape[1:], f'a multiple of the strides, with outputs {expected} instead of {found}'
            )

    def input_shape(self, arch: Mapping[str, Value]) -> tuple[int, int, int]:
        """Return the channels, rows and columns of the image."""
        size: Any = arch.get('resolution') if self.input_size is None else self.input_size
        height, width = (size, size) if isinstance(size, int) else size
        return self._channels, height, width

    def size(self, arch: Mapping[str, Value]) -> Size:
        """Return the side of the image in pixels, or its height and width if it is not square."""
        return size_of(self.input_shape(arch)[1:])

    def space_at(self, size: Size) -> SearchSpace:
        """Return the part of the space with images of this size.

        It is the whole space if its architectures do not decide the size.
        """
        return self.space.restrict({'resolution': size}) if self.input_size is None else self.space

    def sizes(self) -> list[Size]:
        """Return all sizes of images in ascending order."""
        if self.input_size is not None:
            return [self.size({})]
        return [int(side) for side in self.space.choices['resolution'].values]

    def params(self, arch: Mapping[str, Value]) -> int:
        """Return the number of parameters of a network."""
        return sum(part.copies * self._costs[part.key].params for part in self.parts(arch))

    def composition(self, archs: Sequence[Mapping[str, Value]]) -> tuple[list[str], np.ndarray]:
        """Return the keys of all parts of networks, and how often each network (row) has each part (column).

        The keys are in the order in which the parts appear. All parts are counted.
        """
        parts = [self.parts(arch) for arch in archs]
        keys = list(dict.fromkeys(part.key for network in parts for part in network))
        return keys, _count_copies(parts, keys)

    def count_matrix(self, archs: Sequence[Mapping[str, Value]], keys: Sequence[str], power: int = 1) -> np.ndarray:
        """Return how often each network (row) has each of some parts (column), without counting the parts.

        Args:
            archs: The networks.
            keys: Keys of the parts; other parts are left out.
            power: Exponent of the copies of a part in each place before they are summed.
        """
        return _count_copies([self.list_parts(arch) for arch in archs], keys, power)

    def build_network(self, arch: Mapping[str, Value]) -> nn.Module:
        """Return the network that is timed for ``arch``, in eval mode, with random weights that are always the same."""
        params = self.params(arch)
        if params > MOST_PARAMS:
            raise bad_value('parameters of the network', params, f'at most {MOST_PARAMS}')
        decoded = self.space.decode(arch)
        widths = self._out_widths(decoded)
        with own_generator():
            backbone: nn.Module = MODELS.build({**self.backbone, 'arch': decoded})
            if self._around is not None:
                return self._around.build(backbone, widths, self.space.settings(arch)).eval()
            return Classifier(backbone, widths[-1], self.num_classes).eval()

    def build(self, arch: Mapping[str, Value]) -> nn.Module:
        """Return the standalone backbone in eval mode with random weights."""
        network: nn.Module = MODELS.build({**self.backbone, 'arch': self.space.decode(arch)})
        return network.eval()


def space_of(model: Mapping[str, Any]) -> SearchSpace:
    """Return the space of a model's config that contains a supernet; ValueError if there is none."""
    return with_genes(SEARCH_SPACES.build(dict(_supernet_in(model)['space'])), model.get('genes'))


def num_classes_of(model: Mapping[str, Any]) -> int | None:
    """Return the number of classes of the linear classifier that counts as a part of the network.

    Args:
        model: Config of a :class:`mmhybrid.models.one_shot.OneShot`.

    Returns:
        The ``num_classes`` of a classifier's head; None for detectors and segmentors.
    """
    head = (model.get('architecture') or {}).get('head') or {}
    num_classes: int | None = head.get('num_classes')
    return num_classes


def size_of(shape: Sequence[int]) -> Size:
    """Return height and width as one number if they are equal."""
    height, width = shape
    return height if height == width else (height, width)


@lru_cache
def _head_part(in_width: int, num_classes: int) -> Part:
    """Return the part of the linear classifier, which does not belong to the backbone."""
    return Part('head', {'in': in_width, 'classes': num_classes})


@lru_cache
def _image_part(rows: int, columns: int) -> Part:
    """Return the part that stands for everything in a network outside its other parts."""
    return Part('network', sides(rows, columns))


def _count_copies(networks: Sequence[Sequence[Part]], keys: Sequence[str], power: int = 1) -> np.ndarray:
    column = {key: i for i, key in enumerate(keys)}
    counts = np.zeros((len(networks), len(keys)))
    for row, parts in enumerate(networks):
        for part in parts:
            if part.key in column:
                counts[row, column[part.key]] += part.copies**power
    return counts


def _checked_size(input_size: InputSize | None, is_in_genes: bool, overrides: bool) -> Size | None:
    """Return the size of images.

    Raises:
        ValueError: If the size is wrong or missing, or if the genes decide it and it may not override them.
    """
    if is_in_genes and (input_size is None or not overrides):
        if input_size is not None:
            raise bad_value('input_size', input_size, 'None, since the archs of this space say it')
        return None
    if isinstance(input_size, int) or input_size is None:
        return check_int('input_size', input_size, SMALLEST_SIDE)
    sides = [check_int('input_size', side, SMALLEST_SIDE) for side in check_list('input_size', input_size, 2)]
    return size_of(sides)  # a square is always written in the same way, because tables compare sizes


def _supernet_in(model: Mapping[str, Any]) -> Mapping[str, Any]:
    supernet = next((part for part in _dicts(model) if 'space' in part and 'backbone' in part), None)
    if supernet is None:
        raise bad_value('model', model.get('type'), 'a model with a supernet (a space and a backbone)')
    return supernet


def _dicts(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the config and all dicts within it."""
    if isinstance(config, Mapping):
        yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from _dicts(value)
