"""The search space: the only owner of what is a valid architecture.

This file is a long one, since each of the operations on architectures is a walk through the same private diagram.
"""

import inspect
import random
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, ClassVar

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
    """All networks that a list of choices describes.

    A family passes its choices and implements :meth:`_decode`, and :meth:`_encode` for the way back. Every operation
    walks the choices in order, skips those without effect, and offers only values from which the rest can be completed:
    whatever it is asked, it ends after one pass with a valid arch in canonical form.

    Args:
        steps: Choices, and facts for their rules; each reads only earlier ones.
        settings: The family's own constructor arguments, plain JSON.
        restrict: As :meth:`restrict` takes it; None for nothing.
        parts: For a space that is the union of others, the steps of each, with the same choices and other facts; what
            is drawn at random is drawn from one of them. They may overlap.
        own: Values by gene that the family's arguments leave of those of the choices; ``restrict`` leaves out more.

    Attributes:
        arch_class: What :meth:`decode` returns; None for plain JSON.
        choices: By gene name, in order, with the values that ``restrict`` leaves.
        num_parts: How many of the parts have a network that ``restrict`` leaves; 1 for a space without parts.

    Raises:
        ValueError: If ``restrict`` names an unknown gene or value, or leaves no network.
    """

    arch_class: ClassVar[type[NetworkArch] | None] = None
    choices: Mapping[str, Choice]

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
        self._root = build_diagram([choices.get(step.name, step) for step in steps])
        if self.size() == 0:
            raise bad_value('restrict', dict(restrict or {}), 'values that go together in at least one network')
        roots = [build_diagram([choices.get(step.name, step) for step in part]) for part in parts]
        self._parts = [root for root in roots if root is None or root.size] or [self._root]
        self.num_parts = len(self._parts)

    def _decode(self, genes: Arch) -> Any:
        """What canonical genes stand for: the ``arch`` of the family's backbone."""
        raise NotImplementedError(f'{type(self).__name__} must decode its genes')

    def _encode(self, arch: Any) -> Mapping[str, Value]:
        """All genes that follow from the ``arch`` of a backbone, those without effect too."""
        raise NotImplementedError(f'{type(self).__name__} does not encode archs')

    # What is in the space

    def walk(self, pick: Callable[[str, tuple[Value, ...]], Value], part: int | None = None) -> Arch:
        """Decide gene after gene.

        Args:
            pick: Called with a gene's name and the values it may take after the genes decided so far; returns one.
            part: Stay in this one of the ``num_parts`` parts; None for the whole space.

        Raises:
            ValueError: If ``pick`` returns another value.
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
        """The arch of ``genes``: in the space's order, with the choices' own values, without genes of no effect.

        Raises:
            ValueError: Naming the gene that is unknown, missing, or has a value it cannot take, and what is allowed.
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
        """Why ``arch`` is not an arch of this space, None if it is."""
        try:
            canonical = self.canonical(arch)
        except ValueError as error:
            return str(error)
        surplus = [name for name in arch if name not in canonical]
        return f'{surplus[0]}: has no effect in this network and does not belong to its arch' if surplus else None

    def contains(self, arch: Mapping[str, Value]) -> bool:
        """Whether ``arch`` is valid and canonical."""
        return self.why_not(arch) is None

    def size(self) -> int:
        """How many different networks there are, exactly; costs nothing."""
        return 1 if self._root is None else self._root.size

    def smallest(self) -> Arch:
        """The first value of each choice; choices list theirs from the smallest network to the largest."""
        return self.walk(lambda _, options: options[0])

    def largest(self) -> Arch:
        """The last value of each choice."""
        return self.walk(lambda _, options: options[-1])

    # Moving around in it

    def sample(self, rng: random.Random) -> Arch:
        """A random arch: in order, each gene uniform over the values it may still take.

        So every depth is equally likely, although there are more deep networks than shallow ones; and where widths
        may not decrease the first stage is uniform over its widths, the second over those not below the first's, and
        so on, which favours wide late stages. The archs themselves are not equally likely. Nothing is rejected. In a
        space of several parts one of them is drawn first, each equally likely however large it is.
        """
        part = rng.randrange(self.num_parts) if self.num_parts > 1 else 0
        return self.walk(lambda _, options: rng.choice(options), part)

    def mutate(self, arch: Mapping[str, Value], rng: random.Random, prob: float = 0.1) -> Arch:
        """Redraw each gene with probability ``prob``, as :meth:`sample` draws it; the others stay.

        A gene that gains an effect by that, or whose value no longer goes with the earlier ones, is redrawn too. The
        result may equal ``arch``: nothing may be redrawn, or to the value it had.

        Raises:
            ValueError: If ``arch`` is not in the space, or ``prob`` not in [0, 1].
        """
        check_float('prob', prob, 0, 1)
        return self._redraw(arch, rng, lambda _: rng.random() < prob)

    def mutate_blocks(
        self, arch: Mapping[str, Value], rng: random.Random, depth_prob: float = 0.2, block_prob: float = 0.4
    ) -> Arch:
        """Redraw all depths together with probability ``depth_prob``, then each block with ``block_prob``.

        AutoViT, algorithm 2. A block's other genes are redrawn together; genes of no block (stem, resolution) count
        as a block each. For the rest see :meth:`mutate`.

        Raises:
            ValueError: If ``arch`` is not in the space, or a probability not in [0, 1].
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
        """A child of two archs: each gene from either parent with equal chance, where both have it.

        A value that does not go with the child's earlier genes is not taken; if neither parent's does, the gene is
        drawn as :meth:`sample` draws it. The child may equal a parent.

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

    # Other forms

    def restrict(self, genes: Restriction) -> Self:
        """The part of the space in which some genes take fewer values.

        Args:
            genes: Gene name to the value or values it keeps, an :class:`Arch` too. ``*`` in a name stands for
                anything (``blocks.*.kernel_size``); each of those genes keeps what it has of the values. A gene
                without effect stays without.

        Raises:
            ValueError: If a gene or a value is not in the space, or no network is left.
        """
        narrowed = {**self._narrowed, **_narrow(self.choices, genes)}
        return self.from_config({**self.to_config(), 'restrict': narrowed})

    def decode(self, genes: Mapping[str, Value]) -> Any:
        """The network that genes stand for, as the family's backbone takes it (``arch``).

        Different genes differ in it or in the resolution.

        Raises:
            ValueError: If the genes are not in the space.
        """
        return self._decode(self.canonical(genes))

    def encode(self, arch: Any, resolution: int | None = None) -> Arch:
        """The genes that stand for a network: the way back from :meth:`decode`.

        Args:
            arch: What the family's backbone takes as ``arch``: a preset's name, a mapping, or an architecture.
            resolution: Pixels a side of the input, where the space has a gene for them; None for the largest.

        Raises:
            ValueError: If there is no such network, or it is not in the space, naming the gene or field and its value.
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
        """Pixels a side of the input that ``arch`` asks for, None where the space leaves that open.

        Raises:
            ValueError: If ``arch`` is not in the space.
        """
        resolution = self.canonical(arch).get('resolution')
        assert resolution is None or isinstance(resolution, int)
        return resolution

    def to_config(self) -> dict[str, Any]:
        """A plain JSON dict that SEARCH_SPACES, or :meth:`from_config`, builds this space from."""
        config: dict[str, Any] = {'type': type(self).__name__, **self._settings}
        if self._narrowed:
            config['restrict'] = self._narrowed
        described: dict[str, Any] = plain(config)
        return described

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build what :meth:`to_config` describes.

        Raises:
            ValueError: If ``type`` is another class, or an argument is unknown or wrong.
        """
        known = inspect.signature(cls).parameters.keys() - OF_CONFIGS  # for a space in a file lists its values
        check_keys(f'{cls.__name__} config', config, ('type',), known)
        if config['type'] not in (cls.__name__, f'mmhybrid.{cls.__name__}'):
            raise bad_value('type', config['type'], cls.__name__)
        return cls(**{name: value for name, value in config.items() if name != 'type'})

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], 'SearchSpace'], tuple[dict[str, Any]]]:
        return type(self).from_config, (self.to_config(),)

    def ranges(self) -> dict[tuple[str, tuple[Value, ...]], int]:
        """The values that genes may take, as lines to print.

        Returns:
            The number of genes by their pattern, with ``*`` for the numbers in the name, and values.
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
    """What to say of an architecture in whose place the space has another one."""
    if isinstance(wanted, NetworkArch):
        name, value = next((name, value) for name, value in vars(wanted).items() if value != getattr(found, name))
        return bad_value(name, value, f'{getattr(found, name)}, as the space has it')
    return bad_value('arch', wanted, f'{found}, as the space has it')


def _narrow(choices: Mapping[str, Choice], restrict: Restriction) -> dict[str, tuple[Value, ...]]:
    """The genes that ``restrict`` leaves fewer values, with those."""
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
    """What is equal for values that are the same, see :func:`same_value`."""
    return isinstance(value, bool), value


def _patterns(choices: Mapping[str, Choice]) -> list[str]:
    return list(dict.fromkeys(map(_pattern, choices)))


def _pattern(name: str) -> str:
    return re.sub(r'\b\d+\b', '*', name)
