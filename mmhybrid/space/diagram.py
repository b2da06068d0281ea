"""A space as a decision diagram: from each gene's values to the next gene that has an effect."""

from collections.abc import Iterator, Mapping, Sequence

from mmhybrid.space.arch import Value
from mmhybrid.space.choice import Choice, Fact

# States of one step. The shipped spaces need at most some thousands; a million nodes take about a gigabyte.
MAX_STATES = 500_000
# Values of all states together: tens of seconds. The shipped spaces have at most some ten thousand.
MAX_MOVES = 2_000_000
State = tuple[object, ...]


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


def build_diagram(
    steps: Sequence[Choice | Fact], max_states: int = MAX_STATES, max_moves: int = MAX_MOVES
) -> Node | None:
    """The root of the diagram, None if no gene has an effect.

    Nodes are shared wherever what a later step can still see of the genes is the same, so a diagram stays small
    where the space is astronomically large.

    Raises:
        ValueError: If the rules make later steps depend on too much of the earlier genes, so that a step would have
            more than ``max_states`` states, or all states together more than ``max_moves`` values.
    """
    needed = [*_needed(steps), []]
    layers: list[set[State]] = [{()}]
    num_moves = 0
    for index, step in enumerate(steps):
        following: set[State] = set()
        for state in layers[-1]:
            for _, after in _moves(step, dict(zip(needed[index], state, strict=True))):
                following.add(tuple(after[name] for name in needed[index + 1]))
                num_moves += 1
            if num_moves > max_moves:
                raise ValueError(
                    f'space: up to {step.name}, its {len(steps)} steps have more than {max_moves} values in all states '
                    'together; give the genes fewer values, or let there be fewer of them'
                )
            if len(following) > max_states:
                raise ValueError(
                    f'space: after {step.name} its rules need to know {needed[index + 1]} of the earlier genes, which '
                    f'take more than {max_states} combinations; let the rules see a fact that sums them up (Fact), '
                    'or give those genes fewer values'
                )
        layers.append(following)

    below: dict[State, Node | None] = {(): None}
    for index, step in reversed(list(enumerate(steps))):
        nodes: dict[State, Node | None] = {}
        for state in layers[index]:
            moves = [
                (value, below[tuple(after[name] for name in needed[index + 1])])
                for value, after in _moves(step, dict(zip(needed[index], state, strict=True)))
            ]
            if len(moves) == 1 and moves[0][0] is None:
                nodes[state] = moves[0][1]
            else:
                open_moves = [(value, child) for value, child in moves if value is not None]
                nodes[state] = Node(
                    step.name, {value: (value, child) for value, child in open_moves if child is None or child.size}
                )
        below = nodes
    return below[()]


def _moves(step: Choice | Fact, known: Mapping[str, object]) -> Iterator[tuple[Value | None, dict[str, object]]]:
    """Each value that a step may take, None for a fact and a gene without effect, and what is known after it."""
    if isinstance(step, Fact):
        yield None, {**known, step.name: step.compute(*(known[name] for name in step.given))}
    elif step.when is not None and not step.when.holds(known):
        yield None, {**known, step.name: None}
    else:
        for value in step.values:
            if step.limit is None or step.limit.holds(known, value):
                yield value, {**known, step.name: value}


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
