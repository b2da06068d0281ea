"""Adapters, which make networks of other libraries elastic backbones without changing their classes.

An adapter names the stages of a network, their blocks, and the layers with the kernel and the hidden channels of a
block. It cuts an instance of the network down to an architecture: the leading blocks and channels and the middles of
kernels stay, which are also the parts that a supernet shares (see :mod:`mmhybrid.models.supernets.sharing`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmhybrid.archs.elastic import ElasticArch
from mmhybrid.models.backbones.base import HybridBackbone, LayerGroup, Output
from mmhybrid.models.input_channels import input_channels
from mmhybrid.models.layers.cutting import crop_kernel, input_width, kernel_size, narrow_inputs, narrow_outputs
from mmhybrid.models.layers.order import sort_hidden
from mmhybrid.models.parts import Part, Piece, Size, sides
from mmhybrid.utils.checks import bad_value

Shape = tuple[int, ...]
# Side, in pixels, of the image with which an adapter measures the widths and strides of its outputs.
SIDE = 64


@dataclass(frozen=True)
class Stage:
    """The names of a stage's layers in a network.

    Args:
        blocks: Name of the list of its blocks. The first block may change the shape of the map; the blocks after it
            differ in their elastic sizes only.
        before: Names of the layers in front of the blocks: the stem, or a down-sampling.
        after: Names of the layers behind its output that belong to the task, such as a norm.
    """

    blocks: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockLayers:
    """The names of the elastic layers in a block; names that a block lacks are ignored.

    Args:
        kernel: Name of the convolution whose kernel may be smaller; '' for none.
        before: Names of the layers whose outputs are the hidden channels: a projection, norms, a depth-wise
            convolution.
        after: Names of the layers whose inputs are the hidden channels; the weights of the first one determine the
            importance of each channel.
    """

    kernel: str = ''
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Adapter(HybridBackbone):
    """Base class of the adapters.

    A subclass builds the network, sets :attr:`block_layers` and implements :meth:`compute_outputs`, which runs
    :attr:`network`. Layers, weights and checkpoints keep the names that the network gives them. Layer groups, outputs
    and parts follow from ``stages``; each stage is an available output.

    Args:
        network: New instance of the whole network.
        stages: Stages of the network.
        arch: Part of the network to keep, as :meth:`ElasticArch.parse` takes it; None for the whole network.
        out_indices: Indices of the stages whose outputs are returned. See :class:`HybridBackbone` for this and the
            following arguments.
        init_cfg: Initialisation config of MMEngine; None for that of the network.

    Attributes:
        arch: Architecture of what is kept, with the kernels and hidden channels of all stages whose blocks have them.
        block_layers: Names of the elastic layers in a block.

    Raises:
        AttributeError: If the network has no list of blocks of a name in ``stages``.
        ValueError: If ``arch`` has another number of stages than the network or asks for more than the network has.
    """

    block_layers = BlockLayers()

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[Stage],
        arch: str | Mapping[str, Any] | ElasticArch | None = None,
        out_indices: Sequence[int] = (-1,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        init_cfg = getattr(network, 'init_cfg', None) if init_cfg is None else init_cfg
        super().__init__(len(stages), out_indices, frozen_stages, norm_eval, False, init_cfg)
        # The tuple keeps torch from registering the network as a submodule. The adapter shares the dicts in which the
        # network keeps its layers, parameters and buffers, so it has them by the same names.
        self._network = (network,)
        for tensors in ('_modules', '_parameters', '_buffers', '_non_persistent_buffers_set'):
            self.__dict__[tensors] = network.__dict__[tensors]
        self._stages = tuple(stages)
        self.output_layers = tuple(name.split('.')[0] for stage in stages for name in stage.after)
        self._traces: dict[Shape, _Trace] = {}
        self.arch = self._own_arch()
        if arch is not None:
            self._cut(ElasticArch.parse(arch))
            self.arch = self._own_arch()
        self.finish()

    @property
    def network(self) -> Any:
        """The network, whose class belongs to another library."""
        return self._network[0]

    def train(self, mode: bool = True) -> 'Adapter':
        """Set the mode as :meth:`HybridBackbone.train` does."""
        self.network.training = mode  # since the network is not a submodule
        super().train(mode)
        return self

    def layer_groups(self) -> list[LayerGroup]:
        """Return the layers in front of the first stage, then the blocks."""
        groups = [LayerGroup(0, self._stages[0].before)]
        for i, (stage, depth) in enumerate(zip(self._stages, self.arch.depths, strict=True)):
            for j in range(depth):
                names = (*(stage.before if i and not j else ()), f'{stage.blocks}.{j}')
                groups.append(LayerGroup(i + 1, names))
        return groups

    def layers_behind(self, index: int) -> tuple[str, ...]:
        """Return the names of the layers behind the stage's output."""
        return self._stages[index].after

    def outputs(self, arch: ElasticArch) -> tuple[Output, ...]:
        """Return the sizes of the stages' outputs, which are the same for all architectures.

        The size of an output in ``out_indices`` is measured as it is returned, since layers behind the last block may
        change it.
        """
        trace = self._trace((input_channels(self), SIDE, SIDE))
        returned = dict(zip(self.out_indices, trace.returned, strict=True))
        return tuple(_output(returned.get(i, given), given) for i, (_, given) in enumerate(trace.blocks))

    def parts(self, arch: ElasticArch, input_shape: Sequence[int]) -> Iterator[Part]:
        """Yield everything outside the blocks as one part, then the blocks.

        The arguments are those of :meth:`HybridBackbone.parts`.
        """
        trace = self._trace(tuple(input_shape))
        yield Part('rest', sides(*input_shape[1:]), 1, trace.rest)
        for i, (stage, depth, (taken, given)) in enumerate(zip(self._stages, arch.depths, trace.blocks, strict=True)):
            alike: dict[tuple[Any, ...], list[int]] = {}
            for j in range(depth):
                kernel, hidden = (
                    values[i][j] if values[i] else 0 for values in (arch.kernel_sizes, arch.hidden_widths)
                )
                alike.setdefault((taken if j == 0 else given, kernel, hidden), []).append(j)
            for (shape, kernel, hidden), places in alike.items():
                sizes: dict[str, Size] = {
                    **({'kernel': kernel} if kernel else {}),
                    **({'hidden': hidden} if hidden else {}),
                }
                variant = 'first' if shape != given else ''
                pieces = ((f'{stage.blocks}.{places[0]}', shape),)
                yield Part(f'stage{i}', {**sizes, **sides(*shape[-2:])}, len(places), pieces, variant)

    def sort_channels(self) -> None:
        """Sort the hidden channels of each block by importance."""
        for block in self._blocks():
            if takers := _found(block, self.block_layers.after):
                sort_hidden(_found(block, self.block_layers.before), takers[0], also=takers[1:])

    def _blocks(self) -> Iterator[nn.Module]:
        for stage in self._stages:
            yield from self.get_submodule(stage.blocks).children()

    def _own_arch(self) -> ElasticArch:
        """Return the architecture of the network as it is now."""
        stages = [list(self.get_submodule(stage.blocks).children()) for stage in self._stages]

        def of_all(sizes: Iterable[int | None]) -> tuple[int, ...]:
            """Return the size of each block, or an empty tuple if a block has none."""
            listed = list(sizes)
            return () if None in listed else tuple(size for size in listed if size is not None)

        kernels = tuple(of_all(self._kernel_of(block) for block in blocks) for blocks in stages)
        widths = tuple(of_all(self._width_of(block) for block in blocks) for blocks in stages)
        return ElasticArch(tuple(map(len, stages)), kernels, widths)

    def _kernel_of(self, block: nn.Module) -> int | None:
        convs = _found(block, (self.block_layers.kernel,))
        return kernel_size(convs[0]) if convs else None

    def _width_of(self, block: nn.Module) -> int | None:
        takers = _found(block, self.block_layers.after)
        return input_width(takers[0]) if takers else None

    def _cut(self, arch: ElasticArch) -> None:
        """Cut the network down to an architecture."""
        own = self.arch
        if len(arch.depths) != len(own.depths):
            raise bad_value('arch.depths', list(arch.depths), f'{len(own.depths)} stages')
        for i, stage in enumerate(self._stages):
            blocks: Any = self.get_submodule(stage.blocks)
            _at_most(f'arch.depths[{i}]', arch.depths[i], own.depths[i : i + 1])
            del blocks[arch.depths[i] :]
            for j, size in enumerate(arch.kernel_sizes[i]):
                _at_most(f'arch.kernel_sizes[{i}][{j}]', size, own.kernel_sizes[i][j : j + 1])
                crop_kernel(_found(blocks[j], (self.block_layers.kernel,))[0], size)
            for j, width in enumerate(arch.hidden_widths[i]):
                most = _at_most(f'arch.hidden_widths[{i}][{j}]', width, own.hidden_widths[i][j : j + 1])
                for layer in _found(blocks[j], self.block_layers.before):
                    narrow_outputs(layer, width, most)
                for layer in _found(blocks[j], self.block_layers.after):
                    narrow_inputs(layer, width)

    def _trace(self, image: Shape) -> '_Trace':
        """Return the shapes for an image, which cutting does not change, since a stage keeps its first block."""
        if image not in self._traces:
            self._traces[image] = _Trace.of(self, [stage.blocks for stage in self._stages], image)
        return self._traces[image]


@dataclass(frozen=True)
class _Trace:
    """The shapes of maps in a network, without the batch axis.

    Args:
        blocks: Input and output shape of the first block of each stage; the later blocks take and return the latter.
        rest: Everything outside the blocks, as the pieces of a part.
        returned: Shapes of the returned outputs.
    """

    blocks: tuple[tuple[Shape, Shape], ...]
    rest: tuple[Piece, ...]
    returned: tuple[Shape, ...]

    @classmethod
    def of(cls, adapter: Adapter, lists: Sequence[str], image: Shape) -> '_Trace':
        """Return the trace of an image of zeros that the network processes."""
        taken: dict[str, list[Shape]] = {}
        given: dict[str, Shape] = {}

        def watch(name: str) -> Any:
            def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
                shapes = [tuple(tensor.shape[1:]) for tensor in inputs if isinstance(tensor, Tensor)]
                taken.setdefault(name, shapes)
                given.setdefault(name, tuple(output.shape[1:]) if isinstance(output, Tensor) else ())

            return hook

        outside = [
            name for name, _ in adapter.named_modules() if not any(f'{name}.'.startswith(f'{path}.') for path in lists)
        ]
        leaves = [name for name in outside if not any(True for _ in adapter.get_submodule(name).children())]
        hooks = [
            adapter.get_submodule(name).register_forward_hook(watch(name))
            for name in (*leaves, *(f'{path}.0' for path in lists))
        ]
        parameter = next(adapter.parameters())
        was_training = adapter.training
        try:
            adapter.eval()
            with torch.no_grad():
                outputs = adapter(torch.zeros(1, *image, device=parameter.device, dtype=parameter.dtype))
        finally:
            adapter.train(was_training)
            for hook in hooks:
                hook.remove()
        own = [
            f'{name}.{tensor}'.removeprefix('.')
            for name in outside
            if name not in leaves
            for tensor in adapter.get_submodule(name)._parameters
        ]
        rest = (*((name, *taken.get(name, ())) for name in leaves), *((name,) for name in own))
        blocks = tuple((taken[f'{path}.0'][0], given[f'{path}.0']) for path in lists)
        return cls(blocks, rest, tuple(tuple(out.shape[1:]) for out in outputs))


def _output(shape: Shape, of_blocks: Shape) -> Output:
    """Return the size of an output, which is a map (C, H, W), tokens (L, C) or a vector (C,).

    The stride follows from the output if it is a map, and else from the output of the blocks.
    """
    rows = next((one[1] for one in (shape, of_blocks) if len(one) == 3), 1)
    return Output(shape[-1] if len(shape) == 2 else shape[0], SIDE // rows)


def _found(block: nn.Module, names: Iterable[str]) -> list[nn.Module]:
    """Return the layers of a block that have these names."""
    layers = dict(block.named_modules())
    return [layers[name] for name in names if name and name in layers]


def _at_most(field: str, value: int, own: tuple[int, ...]) -> int:
    """Return the network's own size; raise a ValueError if it has none, or ``value`` is larger."""
    if not own:
        raise bad_value(field, value, 'none, since the blocks of this stage keep what they have')
    if value > own[0]:
        raise bad_value(field, value, f'at most {own[0]}, which the network has')
    return own[0]
