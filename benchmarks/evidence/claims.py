"""What a row of the table is made of: a claim, and the arms (networks) with which it is tried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evidence.judges import Judge
from evidence.verdicts import Bystander, Claim


@dataclass(frozen=True)
class Arm:
    """A network of a row.

    Args:
        options: Settings that replace those of the row's config, by dotted names.
        distillation: Distillation settings of OneShot for the teacher of :mod:`evidence.teacher`; None for no teacher.
        judge: What scores the trained network; None for its top-1 as it was trained. Arms that differ only in their
            judge share a training.
        config: Config file that replaces the row's.
        start: Arm that is trained first, alone and with the same seed; this arm's supernet, or its backbone,
            begins with its weights.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    distillation: Mapping[str, Any] | None = None
    judge: Judge | None = None
    config: str | None = None
    start: 'Arm | None' = None


@dataclass(frozen=True)
class Row:
    """A claim and how it is tried.

    Args:
        name: Name of the row on the command line and of the file with its figures.
        claim: The claim in words.
        source: Paper and table or section of the claim.
        config: Config file in ``configs`` beside this module.
        arms: Arms by name.
        orderings: Orderings of the arms' scores that are claimed, and bystanders.
        note: How the row differs from the paper, apart from its scale.
        one_size: Whether the numbers of parameters of all arms but bystanders have to be within 3 % of each other.
        seeds: Number of seeds of the study; None for a number that a pilot decides.
    """

    name: str
    claim: str
    source: str
    config: str
    arms: Mapping[str, Arm]
    orderings: tuple[Claim, ...]
    note: str = ''
    one_size: bool = True
    seeds: int | None = None

    @property
    def compared(self) -> list[str]:
        """The arms of which something is claimed."""
        beside = {one.arm for one in self.orderings if isinstance(one, Bystander)}
        return [name for name in self.arms if name not in beside]


@dataclass(frozen=True)
class Elsewhere:
    """A claim that another program tries; its figures and verdicts are written by hand.

    Args:
        claim: The claim in words.
        source: Paper and table or section of the claim.
        where: Link to the figures in docs/results.md.
        found: Ordering, figures and verdict of each line of the table.
        note: How the verdicts are reached.
    """

    claim: str
    source: str
    where: str
    found: tuple[tuple[str, str, str], ...]
    note: str
