"""What every mmhybrid backbone has: outputs, freezing, checkpointing, layer depth."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmhybrid import torch_api
from mmhybrid.models.checkpoint_fit import check_pretrained
from mmhybrid.models.layers.basic import build_norm, with_contiguous_grad
from mmhybrid.models.layers.folding import fold
from mmhybrid.models.layers.packed import pack
from mmhybrid.models.parts import Part, sides
from mmhybrid.utils.checks import bad_value, check_bool, check_int, check_list


@dataclass(frozen=True)
class LayerGroup:
    """Parameters that are frozen together and share a depth.

    Args:
        frozen_from: The least ``frozen_stages`` that freezes it: 0 for the stem, n for what leads to the n-th output.
        names: Prefixes of parameter names.
    """

    frozen_from: int
    names: tuple[str, ...]


class Output(NamedTuple):
    """An output of a backbone.

    Args:
        width: Its channels.
        stride: Pixels of the image for one of the map.
    """

    width: int
    stride: int


class HybridBackbone(BaseModule):
    """Base of the backbones.

    A subclass builds its layers, keeps its architecture as ``arch`` and then calls :meth:`finish`. It implements
    :meth:`compute_outputs` and :meth:`layer_groups`, and for costs :meth:`outputs` and :meth:`parts`.

    Args:
        num_outputs: How many outputs there are to choose from: stages, or GLiT's blocks.
        out_indices: Which outputs to return; negative ones count from the last.
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and all that leads to the first n outputs, with the
            output norms behind them. Frozen parameters get no gradient, and frozen modules stay in eval mode when the
            model is set to train.
        norm_eval: Keep all batch normalisation in eval mode (its statistics fixed) during training.
        with_cp: Recompute activations in the backward pass instead of keeping them.
        init_cfg: As in MMEngine.

    Attributes:
        output_layers: Layers behind the outputs, which belong to the task and not to the network.
    """

    output_layers: tuple[str, ...] = ('norm', 'out_norms')

    def __init__(
        self,
        num_outputs: int,
        out_indices: Sequence[int],
        frozen_stages: int,
        norm_eval: bool,
        with_cp: bool,
        init_cfg: dict | list[dict] | None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_outputs = num_outputs
        self.out_indices = normalise_out_indices(out_indices, num_outputs)
        self.frozen_stages = check_int('frozen_stages', frozen_stages, -1, num_outputs)
        self.norm_eval = check_bool('norm_eval', norm_eval)
        self.with_cp = check_bool('with_cp', with_cp)
        torch_api.register_load_hook(self, _adopt_output_layers)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images -> the outputs in ``out_indices``, each contiguous, whatever memory format the layers compute in.

        Kernels that read raw memory, such as MMCV's RoIAlign and deformable convolutions, take a map in channels_last
        for another map without a word, and a neck hands the format of its inputs on to them. The gradient of ``x`` is
        contiguous for the same reason.
        """
        return tuple(out.contiguous() for out in self.compute_outputs(with_contiguous_grad(x)))

    def compute_outputs(self, x: Tensor) -> Iterable[Tensor]:
        """Images -> the outputs in ``out_indices``, in any memory format."""
        raise NotImplementedError(f'{type(self).__name__} must compute its outputs')

    def init_weights(self) -> None:
        """Give the weights their initial values; a checkpoint of which nothing fits is refused."""
        check_pretrained(self)
        super().init_weights()

    def finish(self) -> None:
        """Freeze what is to be frozen; the last step of a subclass's constructor."""
        for name, parameter in self.named_parameters() if self.frozen_stages >= 0 else ():
            if self._is_frozen(name):
                parameter.requires_grad = False

    def build_output_norms(
        self,
        out_norm_cfg: Mapping[str, Any] | None,
        final_norm_cfg: Mapping[str, Any] | None,
        out_channels: Sequence[int],
    ) -> None:
        """Create ``norm`` (of the last output, as in classification) or ``out_norms`` (one for each output).

        Args:
            out_norm_cfg: None for what is published: a single norm behind the last output, or none.
            final_norm_cfg: The type of that norm; None for none.
            out_channels: Channels of all outputs there are to choose from.
        """
        if out_norm_cfg is not None:
            self.out_norms = nn.ModuleDict(
                {str(i): build_norm(out_norm_cfg, out_channels[i]) for i in self.out_indices}
            )
        elif final_norm_cfg is not None and self.num_outputs - 1 in self.out_indices:
            self.norm = build_norm(final_norm_cfg, out_channels[-1])

    def output_norm(self, index: int, x: Tensor) -> Tensor:
        """The output ``x`` with number ``index``, normed where a norm belongs to it."""
        if hasattr(self, 'out_norms'):
            return self.out_norms[str(index)](x)
        return self.norm(x) if hasattr(self, 'norm') and index == self.num_outputs - 1 else x

    def layer_groups(self) -> list[LayerGroup]:
        """The stem, then each block in order; what is named by none counts as output."""
        raise NotImplementedError(f'{type(self).__name__} must name its layers')

    def layers_behind(self, index: int) -> tuple[str, ...]:
        """What stands behind the output with number ``index``; a network may lack it."""
        return (f'out_norms.{index}', *(('norm',) if index == self.num_outputs - 1 else ()))

    def outputs(self, arch: Any) -> tuple[Output, ...]:
        """All outputs that there are to choose from, of a network of this family.

        Args:
            arch: Its architecture; all else is as in this network.
        """
        raise NotImplementedError(f'{type(self).__name__} must name its outputs')

    def parts(self, arch: Any, input_shape: Sequence[int]) -> Iterable[Part]:
        """What the cost of a network of this family is the sum of: the whole network, unless a family tells more.

        Args:
            arch: Its architecture; all else is as in this network.
            input_shape: (C, H, W) of the image.

        Returns:
            The parts, whose pieces are found in a network that is built with ``arch``.
        """
        yield Part('whole', sides(*input_shape[1:]), 1, (('', tuple(input_shape)),), f'{arch}')

    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """``block(x)``, recomputed in the backward pass with ``with_cp``."""
        if not (self.with_cp and self.training and x.requires_grad):
            return block(x)
        if torch_api.is_compiling():  # torch.compile repeats no side effects, and takes no contexts
            return checkpoint(block, x, use_reentrant=False)
        return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _without_statistics(block)))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning-rate decay.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: Where the backbone is in the model, e.g. ``'backbone.'``.

        Returns:
            (depth, number of layers): 0 is the stem, 1 the first block, number of layers - 1 the outputs and heads.
        """
        groups = self.layer_groups()
        if param_name.startswith(prefix):
            name = param_name[len(prefix) :]
            for depth, group in enumerate(groups):
                if _belongs(name, group.names):
                    return depth, len(groups) + 1
        return len(groups), len(groups) + 1

    def train(self, mode: bool = True) -> 'HybridBackbone':
        """Set the mode; frozen modules, and with ``norm_eval`` all batch normalisation, stay in eval mode."""
        super().train(mode)
        if mode and (self.frozen_stages >= 0 or self.norm_eval):
            for name, module in self.named_modules():
                if self._is_frozen(name) or (self.norm_eval and isinstance(module, _BatchNorm)):
                    module.train(False)
        return self

    def switch_to_deploy(self) -> None:
        """Fold norms, residual convolutions and factors into the layers beside them, and compute in one memory format.

        The outputs in eval mode stay what they were, to 1e-5 in float32, and take less time: on a CPU, linear layers
        and point-wise convolutions run on oneDNN (see :mod:`.layers.packed`). The network goes into eval mode and
        cannot be trained or changed back; its state dict has other names than before.
        """
        self.eval()
        fold(self)
        self.to(memory_format=torch.channels_last)
        pack(self)

    def _is_frozen(self, name: str) -> bool:
        if self.frozen_stages < 0 or not name:
            return False
        groups = [group for group in self.layer_groups() if group.frozen_from <= self.frozen_stages]
        frozen = [prefix for group in groups for prefix in group.names]
        frozen += [name for index in range(self.frozen_stages) for name in self.layers_behind(index)]
        return _belongs(name, frozen)


def normalise_out_indices(out_indices: Sequence[int], num_outputs: int) -> tuple[int, ...]:
    """Sorted, non-negative indices.

    Raises:
        ValueError: If there are none, one is out of range, or one is named twice.
    """
    allowed = f'indices from {-num_outputs} to {num_outputs - 1}, each once'
    indices = check_list('out_indices', [out_indices] if isinstance(out_indices, int) else out_indices)
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, int) or not -num_outputs <= index < num_outputs:
            raise bad_value('out_indices', index, allowed)
    normalised = tuple(sorted(index % num_outputs for index in indices))
    if not normalised or len(set(normalised)) < len(normalised):
        raise bad_value('out_indices', out_indices, allowed)
    return normalised


def drop_path_rates(drop_path_rate: float, num_blocks: int) -> list[float]:
    """Stochastic depth linear over the global depth, from 0 to ``drop_path_rate``."""
    return [drop_path_rate * i / max(num_blocks - 1, 1) for i in range(num_blocks)]


def output_widths(network: nn.Module, in_channels: int = 3) -> tuple[int, ...]:
    """Channels of the outputs of a backbone on the meta device."""
    images = torch.empty(1, in_channels, 64, 64, device='meta')
    network.eval()  # of which MMPretrain's backbones return nothing
    with torch.no_grad():
        return tuple(out.shape[channel_axis(out)] for out in network(images))


def channel_axis(x: Tensor) -> int:
    """The axis of channels in maps (B, C, H, W), vectors (B, C) and tokens (B, L, C)."""
    return 2 if x.dim() == 3 else 1


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Leave running statistics alone during a recomputation, or a batch would count twice."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches


def _belongs(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(f'{prefix}.') for prefix in prefixes)


def _adopt_output_layers(module: HybridBackbone, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    """Let a classification checkpoint load into a dense predictor and the other way round.

    The layers behind the outputs belong to the task: ``norm`` of a classifier has no place in a backbone with
    ``out_norms`` (or without the last stage among its outputs), and ``out_norms`` of which a checkpoint has nothing
    keep their initial values. Any other difference is reported by load_state_dict as usual.
    """
    layers = module.output_layers
    own = {prefix + name: value for name, value in module.state_dict().items() if _belongs(name, layers)}
    inside = {name for name in state_dict if name.startswith(prefix)}
    theirs = {name for name in inside if _belongs(name.removeprefix(prefix), layers)}
    has_network = inside != theirs
    if not has_network or theirs == own.keys():
        return
    present = {_layer(name, prefix) for name in theirs}
    fresh = sorted(name for name in own.keys() - theirs if _layer(name, prefix) not in present)
    for name in theirs - own.keys():
        del state_dict[name]
    for name in fresh:
        state_dict[name] = own[name]
    if fresh:
        MMLogger.get_current_instance().info(f'output layers not in the checkpoint start fresh: {", ".join(fresh)}')


def _layer(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).split('.')[0]
