"""Trained networks from which a supernet starts, as an ``init_cfg`` describes them."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.checkpoint_fit import check_fit
from mmhybrid.models.checkpoints import read_checkpoint, weights_of
from mmhybrid.models.layers.order import sort_channels
from mmhybrid.registry import MODELS
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import bad_value, check_bool, check_keys

FROM_NETWORK = 'FromNetwork'
PREFIX = 'backbone.'


def starting_network(
    init_cfg: Mapping[str, Any], space: SearchSpace, backbone: Mapping[str, Any]
) -> tuple[HybridBackbone, Arch, list[str]]:
    """Return the network that an ``init_cfg`` of type ``mmhybrid.FromNetwork`` describes, with its weights.

    Args:
        init_cfg: Config with ``arch``, as :meth:`SearchSpace.encode` takes it; ``checkpoint``, a file with the weights
            of the backbone or of a whole model, which may be a classifier even for a detector; and optionally ``sort``,
            whether to sort channels by importance, which is the default.
        space: Search space of the supernet.
        backbone: Config of the backbone, as the supernet has it.

    Returns:
        The network, its genes, and the names of the output layers of which the file has nothing, such as the output
        norms of a detector in a classifier's checkpoint.

    Raises:
        ValueError: If a field is missing or wrong, the network is not in the space, or the file lacks weights of the
            network or has others of another shape.
    """
    check_keys('init_cfg', init_cfg, ('type', 'arch', 'checkpoint'), ('sort',))
    if not isinstance(init_cfg['checkpoint'], str):
        raise bad_value('init_cfg.checkpoint', init_cfg['checkpoint'], 'a file')
    sort = check_bool('init_cfg.sort', init_cfg.get('sort', True))
    try:
        arch = space.encode(init_cfg['arch'])
    except ValueError as error:
        raise ValueError(f'init_cfg: the space has no network {init_cfg["arch"]}: {error}') from error
    network: HybridBackbone = MODELS.build({**backbone, 'arch': space.decode(arch)})
    weights = weights_of(read_checkpoint(init_cfg['checkpoint']))
    if any(name.startswith(PREFIX) for name in weights):
        weights = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items() if name.startswith(PREFIX)}
    check_fit(network, weights, init_cfg['checkpoint'])
    try:
        missing = network.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'init_cfg.checkpoint: {init_cfg["checkpoint"]} does not fit the network: {reason}') from error
    new = [
        layer
        for layer in network.output_layers
        if isinstance(getattr(network, layer, None), nn.Module) and not any(w.startswith(f'{layer}.') for w in weights)
    ]
    if lacking := [name for name in missing if name.split('.')[0] not in new]:
        raise ValueError(f'init_cfg.checkpoint: {init_cfg["checkpoint"]} lacks {", ".join(lacking[:3])} of the network')
    if sort:
        sort_channels(network)
    return network, arch, new
