"""Which channels the necks and heads around a backbone read, by their configs."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmhybrid.utils.checks import bad_value

# What reads the outputs of a backbone: the first neck that says how many channels it takes, or else these.
HEADS = ('head', 'decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head')


def fitted(model: Mapping[str, Any], channels: Sequence[int]) -> dict[str, Any]:
    """What has to be merged into the config ``model`` so that it reads a backbone with these outputs.

    A component that has ``in_channels`` reads as many outputs as that names. Where it is None, it reads those that its
    ``in_index`` names, or else a neck reads all outputs, and a head the last one.

    Raises:
        ValueError: Naming the component that reads more outputs than there are.
    """
    necks = model.get('neck') or ()
    listed = [necks] if isinstance(necks, Mapping) else list(necks)
    for index, neck in enumerate(listed):
        if 'in_channels' in neck:
            changed = _fitted('neck', neck, channels)
            return {
                'neck': changed
                if isinstance(necks, Mapping)
                else [*listed[:index], {**neck, **changed}, *listed[index + 1 :]]
            }
    changes: dict[str, Any] = {}
    for name in HEADS:
        heads = model.get(name) or ()
        if isinstance(heads, Mapping) and 'in_channels' in heads:
            changes[name] = _fitted(name, heads, channels)
        elif not isinstance(heads, Mapping) and heads:
            changes[name] = [{**head, **_fitted(name, head, channels)} for head in heads]
    return changes


def _fitted(name: str, component: Mapping[str, Any], channels: Sequence[int]) -> dict[str, Any]:
    wanted = component['in_channels']
    if wanted is None:
        everything = range(len(channels)) if name == 'neck' and len(channels) > 1 else -1
    else:
        everything = -1 if isinstance(wanted, int) else range(len(wanted))
    places = component.get('in_index', everything)
    single = isinstance(places, int)
    reads = [places] if single else list(places)
    if not all(-len(channels) <= place < len(channels) for place in reads):
        raise bad_value(f'{name}.in_channels', wanted, f'at most {len(channels)} outputs, of {list(channels)} channels')
    narrow = [channels[place] for place in reads]
    return {'in_channels': narrow[0] if single else narrow}


def with_widths(model: Mapping[str, Any], channels: Sequence[int]) -> dict[str, Any]:
    """The config ``model`` with necks and heads that read a backbone with these outputs; see :func:`fitted`."""
    changed = dict(model)
    for name, change in fitted(model, channels).items():
        changed[name] = {**changed[name], **change} if isinstance(change, Mapping) else change
    return changed
