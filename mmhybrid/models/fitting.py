"""Functions that change sizes in configs of necks and heads: the channels that they read, and other settings."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from mmhybrid.utils.checks import bad_value

# Components that read the outputs of a backbone if no neck has ``in_channels``.
HEADS = ('head', 'decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head')
# Components that do not read the outputs of a neck.
ELSEWHERE = ('backbone', 'neck')


def fitted(model: Mapping[str, Any], channels: Sequence[int]) -> dict[str, Any]:
    """Return the changes to the config ``model`` with which it reads a backbone whose outputs have these channels.

    The changes are for the first neck that has ``in_channels``, or else for the heads. If a component has ``in_index``,
    it reads these outputs. Otherwise, it reads as many outputs as its ``in_channels`` has numbers, and the last output
    if that is a single number. If ``in_channels`` is None, a neck reads all outputs and a head reads the last one.

    Args:
        model: Config of a model.
        channels: Channels of each output of the backbone.

    Raises:
        ValueError: If a component reads more outputs than there are.
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
    """Return the config ``model`` with the changes of :func:`fitted`."""
    changed = dict(model)
    for name, change in fitted(model, channels).items():
        changed[name] = {**changed[name], **change} if isinstance(change, Mapping) else change
    return changed


def with_settings(model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config ``model`` with other settings, in which readers of a neck follow its ``out_channels``.

    Args:
        model: Config of a detector or segmentor.
        settings: Numbers by dotted names, such as ``neck.out_channels``; an index names a component of a list.

    Raises:
        ValueError: If ``model`` has no such setting, or it is not a number.
    """
    changed = deepcopy(dict(model)) if settings else dict(model)
    for name, value in settings.items():
        *path, field = name.split('.')
        component: Any = changed
        for key in path:
            component = _within(component, key)
        old = _within(component, field)
        if isinstance(old, bool) or not isinstance(old, int | float):
            raise bad_value('genes', name, f'a setting of the {model.get("type")} that is a number')
        component[field] = value
        if path[:1] == ['neck'] and field == 'out_channels':
            for reader, key in _readers({part: changed[part] for part in changed if part not in ELSEWHERE}):
                if reader[key] == old:
                    reader[key] = value
                elif isinstance(reader[key], list | tuple) and set(reader[key]) == {old}:
                    reader[key] = [value] * len(reader[key])
    return changed


def _within(config: Any, key: str) -> Any:
    """Return the value of a config under a key, or of a list at an index; None if there is none."""
    if isinstance(config, Mapping):
        return config.get(key)
    is_place = isinstance(config, list | tuple) and key.isdigit() and int(key) < len(config)
    return config[int(key)] if is_place else None


def _readers(config: Any, key: str = '') -> Iterator[tuple[Any, str]]:
    """Yield the components of a config that name the channels they read, each with the name of that setting."""
    if isinstance(config, Mapping):
        if 'in_channels' in config:
            yield config, 'in_channels'
        if key.endswith('roi_extractor') and 'out_channels' in config:
            yield config, 'out_channels'  # it has as many output channels as input channels
    children = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    for name, part in children:
        yield from _readers(part, str(name))
