"""The search space, which alone decides which architectures are valid.

This file is long because every operation on architectures is a walk through the same private diagram.
"""

import inspect
import random
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from typing_extensions import Self

from mmhybrid.archs.base import NetworkArch
from mmhybrid.registry import OF_CONFIGS
from mmhybrid.space.arch import Arch, Value, same_value
from mmhybrid.space.choice import Choice, Fact
from mmhybrid.space.diagram import Node, build_diagram
from mmhybrid.utils.checks import bad_value, check_float, check_keys
from mmhybrid.utils.files import plain

Restriction = Mapping[str, Value | Sequence[Value]]


class SearchSpace:
    """A search space: all networks that a list of choices describes.

    A family of networks passes its choices and implements :meth:`_decode`, and :meth:`_encode` for the opposite
    direction. Every operation walks through the choices in order, skips those without effect, and offers only values
    from which the remaining genes can be completed. So every operation ends after one pass with a valid architecture in
    canonical form.

    Args:
        steps: Choices, and facts for their rules. A step may read only earlier steps.
        settings: Arguments of the family's own constructor as plain JSON.
        restrict: Values that some genes keep, as in :meth:`restrict`; None keeps all values.
        parts: Steps of each part, for a space that is a union of spaces. All parts have the same choices and differ in
            their facts. They may overlap. A random architecture is drawn from a random part.
        own: Values that some genes keep, as they follow from the family's arguments; ``restrict`` narrows them further.

    Attributes:
        arch_class: The class that :meth:`decode` returns; None for plain JSON.
        choices: Choices by gene name, in order, with the values that ``restrict`` keeps.
        steps: The choices, with these values, and the facts.
        parts: The same steps of each part.
        model_genes: Names of the genes that decide settings of the model around the backbone, or its ``resolution``.
        num_parts: Number of parts in which ``restrict`` leaves at least one network; 1 for a space without parts.

    Raises:
        ValueError: If ``restrict`` names an unknown gene or value, or leaves no network.
    """

    arch_class: type[NetworkArch] | None = None
    choices: Mapping[str, Choice]
    model_genes: tuple[str, ...] = ()

    def __init__(
        self,
        steps: Sequence[Choice | Fact],
        settings: Mapping[str, Any],
        restrict: Restriction | None,
        parts: Sequence[Sequence[Choice | Fact]] = (),
        own: Restriction | None = None,
    ) -> None:
        choices = {step.name: step for step in steps if isinstance(step, Choice)}
        self._settings = dict(settings)
        self._narrowed: dict[str, tuple[Value, ...]] = {}
        for genes in (own, restrict):
            narrowed = _narrow(choices, {} if genes is None else genes)
            self._narrowed |= narrowed
            for name, values in narrowed.items():
                choices[name] = replace(choices[name], values=values)
        self.choices = choices
        self.steps = [choices.get(step.name, step) for step in steps]
        self._root = build_diagram(self.steps)
        if self.size() == 0:
            raise bad_value('restrict', dict(restrict or {}), 'values that go together in at least one network')
        self.parts = [[choices.get(step.name, step) for step in part] for part in parts]
        roots = [build_diagram(part) for part in self.parts]
        self._parts = [root for root in roots if root is None or root.size] or [self._root]
        self.num_parts = len(self._parts)

    def _decode(self, genes: Arch) -> Any:
        """Return the ``arch`` of the family's backbone that canonical genes describe."""
        raise NotImplementedError(f'{type(self).__name__} must decode its genes')

    def _encode(self, arch: Any) -> Mapping[str, Value]:
        """Return all genes that follow from the ``arch`` of a backbone, including those without effect."""
        raise NotImplementedError(f'{type(self).__name__} does not encode archs')

    # What is in the space

    def walk(self, pick: Callable[[str, tuple[Value, ...]], Value], part: int | None = None) -> Arch:
        """Decide the genes one after another and return the architecture.

        Args:
            pick: Function that is called with a gene's name and the values that the gene may take after the earlier
                genes, and returns one of these values.
            part: Index of the part to stay in, from 0 to ``num_parts - 1``; None for the whole space.

        Raises:
            ValueError: If ``pick`` returns a value that it was not offered.
        """
        genes: dict[str, Value] = {}
        node = self._root if part is None else self._parts[part]
        while node is not None:
            value = pick(node.name, node.options)
            branch = node.branches.get(value)
            if branch is None or not same_value(value, branch[0]):
                raise self._refused(node, value, genes)
            genes[node.name], node = branch
        return Arch._trusted(genes)

    def canonical(self, genes: Mapping[str, Value]) -> Arch:
        """Return ``genes`` in canonical form.

        The genes are in the space's order, have the choices' own values, and include none without effect.

        Raises:
            ValueError: If a gene is unknown or missing, or cannot take its value. The message names the gene and what
                is allowed.
        """
        arch = genes if isinstance(genes, Arch) else Arch(genes)
        if unknown := [name for name in arch if name not in self.choices]:
            raise bad_value('gene', unknown[0], f'one of {_patterns(self.choices)}')

        def pick(name: str, options: tuple[Value, ...]) -> Value:
            try:
                return arch[name]
            except KeyError:
                raise ValueError(f'{name}: missing, allowed: one of {list(options)}') from None

        return self.walk(pick)

    def why_not(self, arch: Mapping[str, Value]) -> str | None:
        """Return the reason why ``arch`` is not a canonical architecture of this space, or None if it is one."""
        try:
            canonical = self.canonical(arch)
        except ValueError as error:
            return str(error)
        surplus = [name for name in arch if name not in canonical]
        return f'{surplus[0]}: has no effect in this network and does not belong to its arch' if surplus else None

    def contains(self, arch: Mapping[str, Value]) -> bool:
        """Return whether ``arch`` is a valid and canonical architecture of this space."""
        return self.why_not(arch) is None

    def size(self) -> int:
        """Return the exact number of different networks; it is counted once, so calls are cheap."""
        return 1 if self._root is None else self._root.size

    def smallest(self) -> Arch:
        """Return the architecture of all first values; choices list their values from small to large networks."""
        return self.walk(lambda _, options: options[0])

    def largest(self) -> Arch:
        """Return the architecture of all last values, see :meth:`smallest`."""
        return self.walk(lambda _, options: options[-1])

    # Sampling and variation

    def sample(self, rng: random.Random) -> Arch:
        """Return a random architecture: gene by gene, uniform over the values that the gene may still take.

        The architectures themselves are not equally likely. Every depth is equally likely, although there are more deep
        networks than shallow ones. Where widths may not decrease, the first stage is uniform over its widths, the
        second over those not below the first, and so on, which favours wide late stages. No draw is rejected. In a
        space of several parts, one part is drawn first, each with the same probability whatever its size.
        """
        part = rng.randrange(self.num_parts) if self.num_parts > 1 else 0
        return self.walk(lambda _, options: rng.choice(options), part)

    def mutate(self, arch: Mapping[str, Value], rng: random.Random, prob: float = 0.1) -> Arch:
        """Redraw each gene with probability ``prob``, as :meth:`sample` draws it, and keep the others.

        A gene is also redrawn if it had no effect before, or if the changed earlier genes no longer allow its value.
        The result may equal ``arch``, because no gene may be chosen, or a gene may be redrawn to its old value.

        Raises:
            ValueError: If ``arch`` is not in the space, or ``prob`` is not in [0, 1].
        """
        check_float('prob', prob, 0, 1)
        return self._redraw(arch, rng, lambda _: rng.random() < prob)

    def mutate_blocks(
        self, arch: Mapping[str, Value], rng: random.Random, depth_prob: float = 0.2, block_prob: float = 0.4
    ) -> Arch:
        """Redraw all depths together with probability ``depth_prob``, and each block with probability ``block_prob``.

        This is the mutation of AutoViT (algorithm 2). The genes of a block, other than its depth, are redrawn together.
        A gene that belongs to no block (stem, resolution) counts as a block of its own. All else is as in
        :meth:`mutate`.

        Raises:
            ValueError: If ``arch`` is not in the space, or a probability is not in [0, 1].
        """
        check_float('depth_prob', depth_prob, 0, 1)
        check_float('block_prob', block_prob, 0, 1)
        depth_hit = rng.random() < depth_prob
        blocks = dict.fromkeys(choice.block for choice in self.choices.values())
        block_hit = {block: rng.random() < block_prob for block in blocks}
        choices = self.choices
        return self._redraw(
            arch, rng, lambda name: depth_hit if choices[name].is_depth else block_hit[choices[name].block]
        )

    def crossover(self, a: Mapping[str, Value], b: Mapping[str, Value], rng: random.Random) -> Arch:
        """Return a child of two architectures, which takes each gene from either parent with equal probability.

        A gene that only one parent has is taken from that parent. A value that the child's earlier genes do not allow
        is not taken; if no parent's value is allowed, the gene is drawn as in :meth:`sample`. The child may equal a
        parent.

        Raises:
            ValueError: If a parent is not in the space.
        """
        parents = (self.canonical(a), self.canonical(b))

        def pick(name: str, options: tuple[Value, ...]) -> Value:
            inherited = [parent[name] for parent in parents if name in parent and parent[name] in options]
            return rng.choice(inherited or options)

        return self.walk(pick)

    def _redraw(self, arch: Mapping[str, Value], rng: random.Random, is_hit: Callable[[str], bool]) -> Arch:
        parent = self.canonical(arch)

        def pick(name: str, options: tuple[Value, ...]) -> Value:
            if name not in parent or is_hit(name) or parent[name] not in options:
                return rng.choice(options)
            return parent[name]

        return self.walk(pick)

    # Conversion

    def restrict(self, genes: Restriction) -> Self:
        """Return the part of the space in which some genes take fewer values.

        Args:
            genes: Mapping from gene names to the value or values to keep; an :class:`Arch` is one too. A ``*`` in a
                name matches anything (``blocks.*.kernel_size``), and each matching gene keeps those of the values that
                it has. A gene without effect stays without effect.

        Raises:
            ValueError: If a gene or a value is not in the space, or no network is left.
        """
        narrowed = {**self._narrowed, **_narrow(self.choices, genes)}
        return self.from_config({**self.to_config(), 'restrict': narrowed})

    def decode(self, genes: Mapping[str, Value]) -> Any:
        """Return the network that genes describe, in the form that the family's backbone takes as ``arch``.

        Different genes give different networks, resolutions or :meth:`settings`.

        Raises:
            ValueError: If the genes are not in the space.
        """
        return self._decode(self.canonical(genes))

    def settings(self, arch: Mapping[str, Value]) -> dict[str, Value]:
        """Return the settings of the model around the backbone that an arch decides, by dotted names in its config."""
        return {name: arch[name] for name in self.model_genes if name != 'resolution'}

    @property
    def backbone_space(self) -> 'SearchSpace':
        """The space of the backbone alone."""
        return self

    def of_backbone(self, arch: Arch) -> Arch:
        """Return the genes of an arch that belong to the backbone."""
        if not self.model_genes:
            return arch
        return Arch._trusted({name: value for name, value in arch.items() if name not in self.model_genes})

    def encode(self, arch: Any, resolution: int | None = None) -> Arch:
        """Return the genes that describe a network; this is the inverse of :meth:`decode`.

        Args:
            arch: Name of a preset, mapping or architecture, as the family's backbone takes it.
            resolution: Side of the input in pixels, for a space with a gene for it; None for the largest.

        Raises:
            ValueError: If there is no such network, or it is not in the space. The message names the gene or field and
                its value.
        """
        wanted = arch if self.arch_class is None else self.arch_class.parse(arch)
        genes = dict(self._encode(wanted))
        if 'resolution' in self.choices:
            genes['resolution'] = self.choices['resolution'].values[-1] if resolution is None else resolution
        encoded = self.canonical({name: value for name, value in genes.items() if name in self.choices})
        found = self._decode(encoded)
        if found != wanted:
            raise _not_there(wanted, found)
        return encoded

    def resolution(self, arch: Mapping[str, Value]) -> int | None:
        """Return the side of the input of ``arch`` in pixels, or None if the space does not decide it.

        Raises:
            ValueError: If ``arch`` is not in the space.
        """
        resolution = self.canonical(arch).get('resolution')
        assert resolution is None or isinstance(resolution, int)
        return resolution

    @property
    def has_resolutions(self) -> bool:
        """Whether networks differ in the resolution of their images."""
        return 'resolution' in self.choices and len(self.choices['resolution'].values) > 1

    def to_config(self) -> dict[str, Any]:
        """Return a dict of plain JSON from which SEARCH_SPACES or :meth:`from_config` builds this space."""
        config: dict[str, Any] = {'type': type(self).__name__, **self._settings}
        if self._narrowed:
            config['restrict'] = self._narrowed
        described: dict[str, Any] = plain(config)
        return described

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the space that :meth:`to_config` describes.

        Raises:
            ValueError: If ``type`` is another class, or an argument is unknown or wrong.
        """
        # Data may not use the arguments that name a file or a network; they list all values instead.
        known = inspect.signature(cls).parameters.keys() - OF_CONFIGS
        check_keys(f'{cls.__name__} config', config, ('type',), known)
        if config['type'] not in (cls.__name__, f'mmhybrid.{cls.__name__}'):
            raise bad_value('type', config['type'], cls.__name__)
        return cls(**{name: value for name, value in config.items() if name != 'type'})

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], 'SearchSpace'], tuple[dict[str, Any]]]:
        return type(self).from_config, (self.to_config(),)

    def ranges(self) -> dict[tuple[str, tuple[Value, ...]], int]:
        """Return the values that genes may take, as lines to print.

        Returns:
            Number of genes for each pair of a name pattern, with ``*`` in place of numbers, and a tuple of values.
        """
        patterns = [_pattern(name) for name in self.choices]
        lines: dict[tuple[str, tuple[Value, ...]], int] = {}
        for pattern, choice in sorted(
            zip(patterns, self.choices.values(), strict=True), key=lambda one: patterns.index(one[0])
        ):
            lines[pattern, choice.values] = lines.get((pattern, choice.values), 0) + 1
        return lines

    def __repr__(self) -> str:
        return f'<{self.to_config()}, {Decimal(self.size()):.3g} networks>'

    def _refused(self, node: Node, value: Value, genes: Mapping[str, Value]) -> ValueError:
        limit = self.choices[node.name].limit
        context = {name: genes[name] for name in (limit.given if limit else ()) if name in genes}
        behind = f' after {", ".join(f"{name} = {other!r}" for name, other in context.items())}' if context else ''
        return bad_value(node.name, value, f'one of {list(node.options)}{behind}')


def _not_there(wanted: Any, found: Any) -> ValueError:
    """Return the error for an architecture in whose place the space has another one."""
    if isinstance(wanted, NetworkArch):
        name, value = next((name, value) for name, value in vars(wanted).items() if value != getattr(found, name))
        return bad_value(name, value, f'{getattr(found, name)}, as the space has it')
    return bad_value('arch', wanted, f'{found}, as the space has it')


def _narrow(choices: Mapping[str, Choice], restrict: Restriction) -> dict[str, tuple[Value, ...]]:
    """Return the genes to which ``restrict`` leaves fewer values, with these values."""
    if not isinstance(restrict, Mapping):
        raise bad_value('restrict', restrict, 'a mapping of gene name to value or values')
    kept = {name: choice.values for name, choice in choices.items()}
    for pattern, wanted in restrict.items():
        many: list[Any] = list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        names = [name for name in choices if fnmatchcase(name, str(pattern))]
        if not names:
            raise bad_value('restrict', pattern, f'a gene, one of {_patterns(choices)}')
        known = {_told_apart(value): value for name in names for value in choices[name].values}
        for value in many:
            if not isinstance(value, Hashable) or _told_apart(value) not in known:
                raise bad_value(pattern, value, f'one of {list(known.values())}')
        left = set(map(_told_apart, many))
        for name in names:
            values = tuple(value for value in kept[name] if _told_apart(value) in left)
            if not values:
                raise bad_value(name, wanted, f'at least one of {list(kept[name])}')
            kept[name] = values
    return {name: values for name, values in kept.items() if values != choices[name].values}


def _told_apart(value: Hashable) -> tuple[bool, Hashable]:
    """Return a key that is equal for two values exactly if :func:`same_value` holds for them."""
    return isinstance(value, bool), value


def _patterns(choices: Mapping[str, Choice]) -> list[str]:
    return list(dict.fromkeys(map(_pattern, choices)))


def _pattern(name: str) -> str:
    return re.sub(r'\b\d+\b', '*', name)
