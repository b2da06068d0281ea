"""Which channels the necks and heads around a backbone read, and other sizes of theirs, by their configs."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from mmhybrid.utils.checks import bad_value

# What reads the outputs of a backbone: the first neck that says how many channels it takes, or else these.
HEADS = ('head', 'decode_head', 'auxiliary_head', 'bbox_head', 'rpn_head')
# What does not read a neck.
ELSEWHERE = ('backbone', 'neck')


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


def with_settings(model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config ``model`` with other settings, in which readers of a neck follow its ``out_channels``.

    Args:
        model: Config of a detector or segmentor.
        settings: Numbers by dotted names, such as ``neck.out_channels``; an index names a component of a list.

    Raises:
        ValueError: If ``model`` has no such setting, or it is no number.
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
            yield config, 'out_channels'  # it cuts out of maps what it hands on
    children = config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else ()
    for name, part in children:
        yield from _readers(part, str(name))
