"""What a row of the table is made of: a claim, and the arms by which it is tried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evidence.judges import Judge
from evidence.verdicts import Ordering, SameRanks


@dataclass(frozen=True)
class Arm:
    """A network of a row.

    Args:
        options: What replaces settings of the row's config, by dotted names.
        distillation: From the teacher of :mod:`evidence.teacher`, as OneShot takes it; None for no teacher.
        judge: Scores the trained network; None for its top-1 as it was trained. Arms that differ in nothing else share
            a training.
        config: In the place of the row's.
        start: What is trained before, alone, with the same seed, and what this arm's supernet begins as.
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
        name: On the command line, and of the file of its figures.
        claim: In words.
        source: Paper, table or section.
        config: File in ``configs`` beside this one.
        arms: By name.
        orderings: What is claimed of their scores.
        note: What differs from the paper beside the scale.
        one_size: Whether arms have as many parameters, within 3 %.
        seeds: Of the study; None for a pilot that decides on them.
    """

    name: str
    claim: str
    source: str
    config: str
    arms: Mapping[str, Arm]
    orderings: tuple[Ordering | SameRanks, ...]
    note: str = ''
    one_size: bool = True
    seeds: int | None = None


@dataclass(frozen=True)
class Elsewhere:
    """What another program has found of a claim; its figures and verdicts are written by hand.

    Args:
        claim: In words.
        source: Paper, table or section.
        where: Link to the figures, in docs/results.md.
        found: What is claimed, the figures, and the verdict, each a line.
        note: How the verdicts come about.
    """

    claim: str
    source: str
    where: str
    found: tuple[tuple[str, str, str], ...]
    note: str
