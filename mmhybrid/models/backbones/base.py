"""The base class of the backbones: their outputs, freezing, activation checkpointing and layer-wise depth."""

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
    """Parameters that are frozen together and have the same depth in layer-wise learning-rate decay.

    Args:
        frozen_from: Smallest ``frozen_stages`` that freezes the group: 0 for the stem, n for the layers between the
            outputs n - 1 and n, counted from 1.
        names: Prefixes of the parameters' names.
    """

    frozen_from: int
    names: tuple[str, ...]


class Output(NamedTuple):
    """The size of an output of a backbone.

    Args:
        width: Number of channels.
        stride: Stride of the map with respect to the image, in pixels.
    """

    width: int
    stride: int


class HybridBackbone(BaseModule):
    """Base class of the backbones.

    The constructor of a subclass builds the layers, stores the architecture as ``arch`` and then calls :meth:`finish`.
    A subclass implements :meth:`compute_outputs` and :meth:`layer_groups`, and :meth:`outputs` and :meth:`parts` if its
    cost is to be predicted.

    Args:
        num_outputs: Number of available outputs: one for each stage, or for each block of a GLiT.
        out_indices: Indices of the outputs to return; negative ones count from the last.
        frozen_stages: Number of outputs whose layers are frozen. -1 freezes nothing, 0 the stem, and n the stem, all
            layers up to the n-th output, and the norms of these outputs. Frozen parameters get no gradient, and frozen
            modules stay in eval mode when the model is set to train.
        norm_eval: Whether all batch norms stay in eval mode during training, so that their statistics are fixed.
        with_cp: Whether to recompute activations in the backward pass instead of keeping them.
        init_cfg: Initialisation config of MMEngine.

    Attributes:
        output_layers: Names of the layers behind the outputs, which belong to the task and not to the network.
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
        """Return the outputs in ``out_indices`` of a batch of images.

        Every output is contiguous, whatever memory format the layers compute in. Kernels that read raw memory, such as
        MMCV's RoIAlign and deformable convolutions, silently misread a map in channels_last, and a neck passes the
        format of its inputs on to them. The gradient of ``x`` is contiguous for the same reason.
        """
        return tuple(out.contiguous() for out in self.compute_outputs(with_contiguous_grad(x)))

    def compute_outputs(self, x: Tensor) -> Iterable[Tensor]:
        """Return the outputs in ``out_indices`` of a batch of images, in any memory format."""
        raise NotImplementedError(f'{type(self).__name__} must compute its outputs')

    def init_weights(self) -> None:
        """Initialise the weights.

        Raises:
            ValueError: If ``init_cfg`` names a checkpoint of which no tensor fits this network.
        """
        check_pretrained(self)
        super().init_weights()

    def finish(self) -> None:
        """Freeze the parameters that ``frozen_stages`` names; a subclass calls this at the end of its constructor."""
        for name, parameter in self.named_parameters() if self.frozen_stages >= 0 else ():
            if self._is_frozen(name):
                parameter.requires_grad = False

    def build_output_norms(
        self,
        out_norm_cfg: Mapping[str, Any] | None,
        final_norm_cfg: Mapping[str, Any] | None,
        out_channels: Sequence[int],
    ) -> None:
        """Create ``out_norms``, one norm for each returned output, or ``norm``, one norm behind the last output.

        Args:
            out_norm_cfg: Config of the norms of all returned outputs, as dense prediction needs them; None for the
                published network.
            final_norm_cfg: Config of the published norm behind the last output; None if there is none.
            out_channels: Channels of all available outputs.
        """
        if out_norm_cfg is not None:
            self.out_norms = nn.ModuleDict(
                {str(i): build_norm(out_norm_cfg, out_channels[i]) for i in self.out_indices}
            )
        elif final_norm_cfg is not None and self.num_outputs - 1 in self.out_indices:
            self.norm = build_norm(final_norm_cfg, out_channels[-1])

    def output_norm(self, index: int, x: Tensor) -> Tensor:
        """Return the output ``x`` with number ``index``, normalised if a norm belongs to it."""
        if hasattr(self, 'out_norms'):
            return self.out_norms[str(index)](x)
        return self.norm(x) if hasattr(self, 'norm') and index == self.num_outputs - 1 else x

    def layer_groups(self) -> list[LayerGroup]:
        """Return the stem, then the blocks in order; parameters in no group count as output layers."""
        raise NotImplementedError(f'{type(self).__name__} must name its layers')

    def layers_behind(self, index: int) -> tuple[str, ...]:
        """Return the names of the layers behind the output with number ``index``, which need not exist."""
        return (f'out_norms.{index}', *(('norm',) if index == self.num_outputs - 1 else ()))

    def outputs(self, arch: Any) -> tuple[Output, ...]:
        """Return the sizes of all available outputs of a network of this family.

        Args:
            arch: Architecture of the network, whose other arguments are those of this network.
        """
        raise NotImplementedError(f'{type(self).__name__} must name its outputs')

    def parts(self, arch: Any, input_shape: Sequence[int]) -> Iterable[Part]:
        """Yield the parts whose costs add up to the cost of a network of this family.

        There is one part, the whole network, unless the family overrides this.

        Args:
            arch: Architecture of the network, whose other arguments are those of this network.
            input_shape: Shape (C, H, W) of the image.

        Yields:
            The parts; their pieces name modules of a network built with ``arch``.
        """
        yield Part('whole', sides(*input_shape[1:]), 1, (('', tuple(input_shape)),), f'{arch}')

    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Return ``block(x)``, which the backward pass recomputes if ``with_cp`` is set."""
        if not (self.with_cp and self.training and x.requires_grad):
            return block(x)
        if torch_api.is_compiling():  # torch.compile does not repeat side effects, and does not accept context_fn
            return checkpoint(block, x, use_reentrant=False)
        return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _without_statistics(block)))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter for layer-wise learning-rate decay.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: Prefix of the backbone's parameters in the model, such as ``'backbone.'``.

        Returns:
            The depth and the number of layers. Depth 0 is the stem, 1 the first block, and the number of layers minus
            1 the output layers and heads.
        """
        groups = self.layer_groups()
        if param_name.startswith(prefix):
            name = param_name[len(prefix) :]
            for depth, group in enumerate(groups):
                if _belongs(name, group.names):
                    return depth, len(groups) + 1
        return len(groups), len(groups) + 1

    def train(self, mode: bool = True) -> 'HybridBackbone':
        """Set the mode; frozen modules stay in eval mode, and so do all batch norms if ``norm_eval`` is set."""
        super().train(mode)
        if mode and (self.frozen_stages >= 0 or self.norm_eval):
            for name, module in self.named_modules():
                if self._is_frozen(name) or (self.norm_eval and isinstance(module, _BatchNorm)):
                    module.train(False)
        return self

    def switch_to_deploy(self) -> None:
        """Make the network faster for inference; it can neither be trained afterwards nor changed back.

        Norms, residual convolutions and layer scales are folded into the layers beside them, weights get the memory
        format channels_last, and on a CPU, linear layers and point-wise convolutions run on oneDNN (see
        :mod:`.layers.packed`). The outputs are those of eval mode before, to 1e-5 in float32. The network is set to
        eval mode, and the names in its state dict change.
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
    """Return the indices as non-negative numbers in ascending order.

    Raises:
        ValueError: If there is no index, or one is out of range or named twice.
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
    """Return the stochastic depth rate of each block, which grows linearly from 0 to ``drop_path_rate``."""
    return [drop_path_rate * i / max(num_blocks - 1, 1) for i in range(num_blocks)]


def output_widths(network: nn.Module, in_channels: int = 3) -> tuple[int, ...]:
    """Return the channels of each output of a backbone on the meta device; sets it to eval mode."""
    images = torch.empty(1, in_channels, 64, 64, device='meta')
    network.eval()  # a statement of its own, since eval() of MMPretrain's backbones does not return the network
    with torch.no_grad():
        return tuple(out.shape[channel_axis(out)] for out in network(images))


def channel_axis(x: Tensor) -> int:
    """Return the channel axis of maps (B, C, H, W), vectors (B, C) or tokens (B, L, C)."""
    return 2 if x.dim() == 3 else 1


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Keep running statistics unchanged during a recomputation, which would count a batch twice."""
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
    """Let a classification checkpoint load into a dense predictor, and the other way round.

    Output layers belong to the task. Those that only the checkpoint has are dropped, such as a classifier's ``norm`` in
    a backbone with ``out_norms`` or without the last stage among its outputs. Those of which the checkpoint has nothing
    keep their initial values. load_state_dict reports any other difference as usual.
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
