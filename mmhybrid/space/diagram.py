"""A space as a decision diagram: from each gene's values to the next gene that has an effect."""

from collections.abc import Sequence

from mmhybrid.space.arch import Value
from mmhybrid.space.choice import Choice, Fact


class Node:
    """A gene to decide, once the earlier ones are.

    Args:
        name: The gene.
        branches: Equal value -> (the choice's own value, next node or None at the end); only values from which the
            rest can be completed.

    Attributes:
        options: The choice's own values, in its order.
        size: How many different ways lead from here to the end; 0 if none does.
    """

    __slots__ = ('branches', 'name', 'options', 'size')

    def __init__(self, name: str, branches: dict[Value, tuple[Value, 'Node | None']]) -> None:
        self.name = name
        self.branches = branches
        self.options = tuple(branches)
        self.size: int = sum(1 if child is None else child.size for _, child in branches.values())


def build_diagram(steps: Sequence[Choice | Fact]) -> Node | None:
    """The root of the diagram, None if no gene has an effect.

    Nodes are shared wherever what a later step can still see of the genes is the same, so a diagram stays small
    where the space is astronomically large.
    """
    needed = _needed(steps)
    nodes: dict[tuple[object, ...], Node | None] = {}

    def visit(index: int, known: dict[str, object]) -> Node | None:
        if index == len(steps):
            return None
        known = {name: known[name] for name in needed[index]}
        key = (index, *known.values())
        if key not in nodes:
            nodes[key] = expand(index, known)
        return nodes[key]

    def expand(index: int, known: dict[str, object]) -> Node | None:
        step = steps[index]
        if isinstance(step, Fact):
            fact = step.compute(*(known[name] for name in step.given))
            return visit(index + 1, {**known, step.name: fact})
        if step.when is not None and not step.when.holds(known):
            return visit(index + 1, {**known, step.name: None})
        branches: dict[Value, tuple[Value, Node | None]] = {}
        for value in step.values:
            if step.limit is None or step.limit.holds(known, value):
                child = visit(index + 1, {**known, step.name: value})
                if child is None or child.size:
                    branches[value] = (value, child)
        return Node(step.name, branches)

    return visit(0, {})


def _needed(steps: Sequence[Choice | Fact]) -> list[list[str]]:
    """For each step the earlier names that it or a later one reads."""
    seen: set[str] = set()
    for step in steps:
        assert step.name not in seen, f'{step.name} appears twice'
        assert seen.issuperset(step.given), f'{step.name} reads {step.given}, not all of them earlier'
        seen.add(step.name)
    needed: list[list[str]] = []
    later: set[str] = set()
    for step in reversed(steps):
        later = (later - {step.name}) | set(step.given)
        needed.append(sorted(later))
    return needed[::-1]
