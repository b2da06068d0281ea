"""What MMEngine's ``FSDPStrategy`` needs to resume; :mod:`mmhybrid.compat` applies it when that is imported.

Apart, since torch takes seconds to import what this names.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.distributed._shard import metadata, sharding_spec
from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor
from torch.distributed._shard.sharded_tensor import metadata as tensor_metadata
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.remote_device import _remote_device

from mmhybrid import compat
from mmhybrid.torch_api import TORCH, require_torch

_SHARDS: list[Any] = [
    metadata.ShardMetadata,
    Shard,
    ShardedTensor,
    ShardedTensor.ProcessGroupState,
    sharding_spec.ChunkShardingSpec,
    sharding_spec.EnumerableShardingSpec,
    tensor_metadata.MEM_FORMAT_ENCODING,
    tensor_metadata.ShardedTensorMetadata,
    tensor_metadata.TensorProperties,
    torch.serialization._get_layout,
    _remote_device,
]


class _OldArgumentOrder(FullyShardedDataParallel):
    """Functions of FSDP as MMEngine calls them; it builds none."""

    @staticmethod
    def optim_state_dict_to_load(  # type: ignore[override]
        state: dict[str, Any], model: torch.nn.Module, optimizer: Any
    ) -> dict[str, Any]:
        """The state of all processes as this one's part."""
        return FullyShardedDataParallel.optim_state_dict_to_load(model, optimizer, state)


def mend(strategy: Any) -> None:
    """Let the strategy read its shards and load the state of an optimizer; again is harmless.

    Causes: with ``state_dict_cfg='local'``, its default, each process saves ``ShardedTensor`` objects, whose parts
    ``torch.load`` refuses with ``weights_only=True``; none of them runs anything but torch's own code. And MMEngine
    calls ``FSDP.optim_state_dict_to_load(state, model, optimizer)``, while the order is ``(model, optimizer, state)``
    since torch 2.1: a resume ends in "unhashable type: 'dict'".
    Does nothing where MMEngine has another class of that name.
    Can go when MMEngine allows its shards, and calls the function with names.

    Args:
        strategy: The module ``mmengine._strategy.fsdp``.
    """
    compat.allow_globals(_SHARDS)
    if TORCH < (2, 6):
        strategy.FSDPStrategy.load_checkpoint = _refusing_shards(strategy.FSDPStrategy.load_checkpoint)
    if strategy.FSDP is FullyShardedDataParallel:
        strategy.FSDP = _OldArgumentOrder


def _refusing_shards(load: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return ``load`` with an error for sharded checkpoints before torch 2.6, which cannot be told their classes."""

    def load_checkpoint(self: Any, filename: str, **options: Any) -> dict[str, Any]:
        if not self._is_full_state_dict():
            require_torch((2, 6), f"reading {filename} with FSDPStrategy's state_dict_cfg 'local', but not 'full',")
        return load(self, filename, **options)

    return load_checkpoint
