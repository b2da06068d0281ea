"""The choice of networks of an earlier stage from which a search starts (AutoViT, algorithm 2 and figure 5)."""

from collections.abc import Hashable, Sequence

from mmhybrid.search.candidate import Candidate
from mmhybrid.space import Arch, SearchSpace, Value

NUM_BANDS = 3  # shallow, middle and deep networks


def best_of_each_depth(candidates: Sequence[Candidate], space: SearchSpace) -> list[Arch]:
    """Return the best network of each set of depths, from candidates that are sorted from best to worst."""
    chosen: dict[tuple[tuple[str, Value], ...], Arch] = {}
    for candidate in candidates:
        depths = tuple((name, candidate.arch[name]) for name in _depth_genes(candidate.arch, space))
        chosen.setdefault(depths, candidate.arch)
    return list(chosen.values())


def stratified(candidates: Sequence[Candidate], space: SearchSpace, count: int) -> list[Arch]:
    """Return ``count`` networks that differ in their depths, each kind in proportion to its share of all candidates.

    The candidates are sorted from best to worst. If they are ranked by an estimate alone, the first ones are all of one
    kind: the networks with the most multiply-accumulates have the fewest stages and the largest images. A kind is a
    number of stages, a resolution and a third of the total depths, as far as the search space has these. The method of
    Sainte-Laguë divides the places among the kinds, and within a kind the best networks come first.
    """
    archs = best_of_each_depth(candidates, space)
    totals = sorted(_total_depth(candidate.arch, space) for candidate in candidates)
    bounds = [totals[len(totals) * band // NUM_BANDS] for band in range(1, NUM_BANDS)] if totals else []

    def kind(arch: Arch) -> Hashable:
        overall = tuple(arch[name] for name in _depth_genes(arch, space) if '.' not in name)
        return overall, arch.get('resolution'), sum(_total_depth(arch, space) >= bound for bound in bounds)

    sizes: dict[Hashable, int] = {}
    for candidate in candidates:
        sizes[kind(candidate.arch)] = sizes.get(kind(candidate.arch), 0) + 1
    waiting: dict[Hashable, list[Arch]] = {}
    for arch in archs:
        waiting.setdefault(kind(arch), []).append(arch)
    seats = dict.fromkeys(waiting, 0)
    chosen: list[Arch] = []
    while len(chosen) < min(count, len(archs)):
        # If two kinds are equal, the kind with the better best network comes first.
        winner = max((k for k in waiting if seats[k] < len(waiting[k])), key=lambda k: sizes[k] / (2 * seats[k] + 1))
        chosen.append(waiting[winner][seats[winner]])
        seats[winner] += 1
    return chosen


def _depth_genes(arch: Arch, space: SearchSpace) -> list[str]:
    return [name for name in arch if space.choices[name].is_depth]


def _total_depth(arch: Arch, space: SearchSpace) -> float:
    """Return the number of layers of all blocks; the number of stages is not added, because it is part of the kind."""
    return sum(float(arch[name]) for name in _depth_genes(arch, space) if '.' in name)
