"""A search space as a decision diagram, which leads from each value of a gene to the next gene that has an effect."""

from collections.abc import Iterator, Mapping, Sequence

from mmhybrid.space.arch import Value
from mmhybrid.space.choice import Choice, Fact

# A step has at most this many states. The shipped spaces need a few thousand, and a million nodes take about one
# gigabyte of memory.
MAX_STATES = 500_000
# All states together have at most this many values, which takes tens of seconds. The shipped spaces have some ten
# thousand.
MAX_MOVES = 2_000_000
State = tuple[object, ...]


class Node:
    """A gene to decide, after the earlier genes are decided.

    Args:
        name: Name of the gene.
        branches: Mapping from each value to a pair: the equal value as the choice has it, and the next node, or None at
            the end. It holds only values from which the remaining genes can be completed.

    Attributes:
        options: Values as the choice has them, in its order.
        size: Number of different paths from this node to the end; 0 if there is none.
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
    """Build the diagram and return its root, or None if no gene has an effect.

    Two states share a node if the later steps cannot tell them apart. So a diagram stays small even if the space is
    astronomically large.

    Raises:
        ValueError: If the rules let later steps depend on too many of the earlier genes, so that one step would have
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
    """Yield each value that a step may take, and all that is known after it.

    The value is None for a fact and for a gene without effect.
    """
    if isinstance(step, Fact):
        yield None, {**known, step.name: step.compute(*(known[name] for name in step.given))}
    elif step.when is not None and not step.when.holds(known):
        yield None, {**known, step.name: None}
    else:
        for value in step.values:
            if step.limit is None or step.limit.holds(known, value):
                yield value, {**known, step.name: value}


def _needed(steps: Sequence[Choice | Fact]) -> list[list[str]]:
    """Return, for each step, the earlier names that this step or a later one reads."""
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
