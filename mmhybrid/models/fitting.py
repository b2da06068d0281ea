"""Which channels the necks and heads around a backbone read, by their configs."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmhybrid.utils.checks import bad_value

# What reads the outputs of a backbone: the first neck that says how many channels it takes, or else these.
HEADS = ('head', 'decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head')


def fitted(model: Mapping[str, Any], channels: Sequence[int]) -> dict[str, Any]:
    """What has to be merged into the config ``model`` so that it reads a backbone with these outputs.

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
    single = isinstance(wanted, int)
    places = component.get('in_index', -1 if single else range(len(wanted)))
    reads = [places] if single else list(places)
    if not all(-len(channels) <= place < len(channels) for place in reads):
        raise bad_value(f'{name}.in_channels', wanted, f'at most {len(channels)} outputs, of {list(channels)} channels')
    narrow = [channels[place] for place in reads]
    return {'in_channels': narrow[0] if single else narrow}


def check_widths(model: Mapping[str, Any], channels: Sequence[int]) -> None:
    """Raise ValueError unless what reads the outputs of a backbone in the config ``model`` reads ``channels``."""
    for name, wanted in fitted(model, channels).items():
        parts = zip(_listed(model[name]), _listed(wanted), strict=True)
        for own, change in parts:
            if 'in_channels' in change and not _same(own['in_channels'], change['in_channels']):
                allowed = f"{change['in_channels']}, the backbone's output"
                raise bad_value(f'{name}.in_channels', own['in_channels'], allowed)


def _listed(parts: Any) -> list[Any]:
    return [parts] if isinstance(parts, Mapping) else list(parts)


def _same(own: Any, wanted: Any) -> bool:
    return own == wanted if isinstance(own, int) else list(own) == list(wanted)
