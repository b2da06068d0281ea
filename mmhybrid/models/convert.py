"""Conversion of released checkpoints to mmhybrid's names.

Each family has layouts of its released checkpoints (:class:`Layout`). The architecture is read from the tensors, or is
the preset whose names and shapes match those of the checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmhybrid.models.build import build_on_meta
from mmhybrid.models.checkpoints import write_checkpoint
from mmhybrid.models.families import FAMILIES, Family
from mmhybrid.models.layouts import Layout, Rules
from mmhybrid.models.released import read_released
from mmhybrid.utils.checks import bad_value, check_choice

Shape = tuple[int, ...]
Arch = str | dict[str, Any]
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class _Fit:
    """A comparison of a checkpoint with an architecture: mmhybrid's names, the released ones, and the differences."""

    arch: Arch
    expected: dict[str, Shape]
    sources: dict[str, str]
    missing: dict[str, Shape]
    surplus: dict[str, Shape]


def convert_file(
    source: Path,
    target: Path,
    key: str | None = None,
    arch: str | None = None,
    num_slots: int | None = None,
    head_dim: int | None = None,
) -> dict[str, Any]:
    """Convert the released file ``source`` and write the file ``target``, completely or not at all.

    Args:
        source: Path of the released file.
        target: Path of the new file, which can be loaded with ``weights_only=True``.
        key: Key of the state dict in the file, see :func:`mmhybrid.models.released.read_released`.
        arch: Name of the preset, see :func:`convert`.
        num_slots: Number of pooled slots, see :func:`convert`.
        head_dim: Channels of a head, see :func:`convert`.

    Returns:
        The entry ``meta`` of the new checkpoint.

    Raises:
        ValueError: If :func:`mmhybrid.models.released.read_released` or :func:`convert` raises it.
        OSError: If a file cannot be read or written.
    """
    checkpoint = convert(read_released(source, key), arch, num_slots, head_dim)
    meta: dict[str, Any] = checkpoint['meta']
    write_checkpoint(target, checkpoint)
    return meta


def convert(
    released: Mapping[str, Tensor], arch: str | None = None, num_slots: int | None = None, head_dim: int | None = None
) -> dict[str, Any]:
    """Return a checkpoint of an MMPretrain classifier from a released state dict.

    Args:
        released: State dict as :func:`mmhybrid.models.released.read_released` returns it.
        arch: Name of the preset; None to find the architecture from the tensors. GLNet needs either ``arch`` or the
            following two arguments, which its tensors do not determine.
        num_slots: Number of pooled slots of a GLNet.
        head_dim: Channels of a head of a GLNet.

    Returns:
        A dict with ``state_dict``, whose names begin with ``backbone.`` or ``head.``, and ``meta``, which has the
        config of the ``backbone``.

    Raises:
        ValueError: If no family has these names, an argument that GLNet needs is missing, the checkpoint has an option
            that mmhybrid's backbone lacks, or it does not match the architecture. If the family has no
            :attr:`Layout.read_arch`, it is compared with the nearest preset. The message names the first tensor that
            is missing and the first that is left over.
    """
    layouts = [(family, layout) for family in FAMILIES.values() for layout in family.layouts()]
    found = next(((family, layout) for family, layout in layouts if layout.marker in released), None)
    if found is None:
        names = ' or '.join(dict.fromkeys(family.name for family, _ in layouts))
        raise ValueError(f'checkpoint: not a released {names}; it begins with {_first(_shapes(released))}')
    fit = _best_fit(*found, released, arch, num_slots, head_dim)
    name = found[0].name
    if fit.missing or fit.surplus:
        parts = (('missing', fit.missing), ('surplus', fit.surplus))
        problem = ' and '.join(f'{kind} {_first(shapes)}' for kind, shapes in parts if shapes)
        raise ValueError(f'{name} checkpoint: against the nearest architecture, {fit.arch!r}, {problem}')
    return {
        'meta': {'backbone': {'type': f'mmhybrid.{name}', 'arch': fit.arch}, **_class_names(fit.expected)},
        'state_dict': {ours: released[fit.sources[ours]].reshape(shape) for ours, shape in fit.expected.items()},
    }


def _best_fit(
    family: Family,
    layout: Layout,
    released: Mapping[str, Tensor],
    arch: str | None,
    num_slots: int | None,
    head_dim: int | None,
) -> _Fit:
    for field, value in (('num_slots', num_slots), ('head_dim', head_dim)):
        if value is not None and arch is not None:
            raise bad_value(field, value, 'nothing together with arch, which determines it')
        if value is not None and layout.read_arch is None:
            raise bad_value(field, value, f'nothing for {family.name}, which has no such choice')
    if arch is not None:
        return _fit(family, layout, check_choice('arch', arch, sorted(family.arch.presets)), released)
    if layout.read_arch is not None:
        return _fit(family, layout, layout.read_arch(released, num_slots, head_dim), released)
    fits = (_fit(family, layout, name, released) for name in family.arch.presets)
    return min(fits, key=lambda fit: len(fit.missing) + len(fit.surplus))


def _class_names(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Return the names of ImageNet's classes as MMPretrain's metadata, or nothing unless there are 1000 classes."""
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES  # here, since it imports all data sets

    heads = [shape for name, shape in shapes.items() if name.startswith('head.') and name.endswith('.bias')]
    is_imagenet = bool(heads) and heads[0] == (IMAGENET_CLASSES,)
    return {'dataset_meta': {'classes': tuple(IMAGENET_CATEGORIES)}} if is_imagenet else {}


def _fit(family: Family, layout: Layout, arch: Arch, released: Mapping[str, Tensor]) -> _Fit:
    rules = layout.rules_of(family.arch.parse(arch))
    renamed = {name: _rename(name, rules) for name in released}
    expected = _expected_shapes(family, arch, {renamed[name]: tensor for name, tensor in released.items()})
    sources: dict[str, str] = {}
    for name, tensor in released.items():
        ours = renamed[name]
        if ours in expected and _without_ones(tensor.shape) == _without_ones(expected[ours]):
            sources.setdefault(ours, name)
    used = set(sources.values())
    missing = {name: shape for name, shape in expected.items() if name not in sources}
    surplus = {name: shape for name, shape in _shapes(released).items() if name not in used}
    return _Fit(arch, expected, sources, missing, surplus)


def _expected_shapes(family: Family, arch: Arch, renamed: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Return the shapes of the backbone and of the heads, whose numbers of classes are those of the checkpoint."""
    backbone = build_on_meta({'type': f'mmhybrid.{family.name}', 'arch': arch})
    shapes = _shapes(backbone.state_dict(prefix='backbone.'))
    width = backbone.outputs(backbone.arch)[-1].width
    heads = {family.classifier: IMAGENET_CLASSES}
    for name, tensor in renamed.items():
        if name.startswith('head.') and name.endswith('.bias'):
            heads[name.removesuffix('.bias')] = tensor.numel()
    for head, num_classes in sorted(heads.items()):
        shapes |= {f'{head}.weight': (num_classes, width), f'{head}.bias': (num_classes,)}
    return shapes


def _rename(name: str, rules: Rules) -> str:
    """Return mmhybrid's name for a released one, or the released name if no rule matches."""
    for pattern, ours in rules:
        if match := pattern.match(name):
            return match.expand(ours) + name[match.end() :]
    return name


def _without_ones(shape: Shape) -> Shape:
    """Return a shape without axes of length 1.

    Released linear layers became 1x1 convolutions here, and layer scales of shape (1, C, 1, 1) became vectors.
    """
    return tuple(size for size in shape if size != 1)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _first(shapes: Mapping[str, Shape]) -> str:
    name, shape = next(iter(shapes.items()))
    return f'{name} {shape}' + (f' and {len(shapes) - 1} more' if len(shapes) > 1 else '')
