"""The space of a whole model: a backbone's space, and settings of the neck and the heads around it."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmhybrid.registry import SEARCH_SPACES, build_from_data
from mmhybrid.space.arch import Arch, Value
from mmhybrid.space.base import Restriction, SearchSpace
from mmhybrid.space.choice import Choice, ascending, positive, whole
from mmhybrid.utils.checks import bad_value


@SEARCH_SPACES.register_module()
class WholeModelSpace(SearchSpace):
    """The networks of a backbone's space, each with every combination of settings of the model around it.

    The genes of the backbone's space come first, and then one gene for each setting, with the setting's dotted name in
    the config of the model: ``neck.out_channels``. :meth:`decode` returns the backbone, and
    :meth:`SearchSpace.settings` returns the rest.

    Args:
        backbone: Space of the backbone, or its config as :meth:`SearchSpace.to_config` writes it.
        model: Values of settings, nested as in the config of the model: ``dict(neck=dict(out_channels=[32, 64]))``. The
            largest values together make the largest model, which has at least the layers of all others.
            ``resolution`` is not a setting but the side of the images in pixels, for a backbone whose space has no gene
            for it.
        restrict: Values that some genes keep, see :meth:`SearchSpace.restrict`.

    Raises:
        ValueError: If there is no setting, a value is not a number above 0, or a setting has the name of a backbone's
            gene.
    """

    def __init__(
        self, backbone: SearchSpace | Mapping[str, Any], model: Mapping[str, Any], restrict: Restriction | None = None
    ) -> None:
        if not isinstance(backbone, SearchSpace):
            backbone = build_from_data(SEARCH_SPACES, 'backbone', backbone)
        assert isinstance(backbone, SearchSpace)
        own = [Choice(name, ascending(f'genes.{name}', values, _number)) for name, values in _settings('', model)]
        if not own:
            raise bad_value('genes', model, 'settings of the model, each with a list of values')
        for choice in own:
            if choice.name in backbone.choices:
                raise bad_value('genes', choice.name, 'no gene of the backbone')
        self._backbone = backbone
        self.arch_class = backbone.arch_class
        self.model_genes = tuple(choice.name for choice in own)
        super().__init__(
            [*backbone.steps, *own],
            {'backbone': backbone.to_config(), 'model': model},
            restrict,
            [[*part, *own] for part in backbone.parts],
        )

    @property
    def backbone_space(self) -> SearchSpace:
        """The space of the backbone alone."""
        return self._backbone

    def _decode(self, genes: Arch) -> Any:
        return self._backbone._decode(self.of_backbone(genes))

    def _encode(self, arch: Any) -> Mapping[str, Value]:
        return {**self._backbone._encode(arch), **{name: self.choices[name].values[-1] for name in self.model_genes}}


def with_genes(space: SearchSpace, genes: Mapping[str, Any] | None) -> SearchSpace:
    """Return the space of whole models, or the backbone's own space if no setting is searched.

    Args:
        space: Space of the backbone.
        genes: ``model`` of :class:`WholeModelSpace`; None or empty for no settings.
    """
    return WholeModelSpace(space, genes) if genes else space


def _settings(path: str, config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the lists of values in nested settings with their dotted names."""
    if not isinstance(config, Mapping):
        raise bad_value('genes', config, 'settings of the model, each with a list of values')
    for name, values in config.items():
        if isinstance(values, Mapping):
            yield from _settings(f'{path}{name}.', values)
        else:
            yield f'{path}{name}', values


def _number(field: str, value: object) -> Any:
    return positive(field, value) if isinstance(value, float) else whole(field, value)
