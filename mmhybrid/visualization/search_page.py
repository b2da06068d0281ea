"""A search on one HTML page that needs no other file.

This file is long because it can be read from top to bottom, as the page.
"""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from html import escape

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.constraints import KNOWN
from mmhybrid.search.errors import SearchError
from mmhybrid.search.intervals import FrontIntervals
from mmhybrid.search.pareto import Objective
from mmhybrid.search.result import KnownNetwork, SearchResult
from mmhybrid.search.settings import SearchSettings
from mmhybrid.search.stages import Stage
from mmhybrid.utils.checks import check_int
from mmhybrid.visualization.arch_drawing import Diagram, arch_diagram, draw, thumbnail
from mmhybrid.visualization.charts import Landmark, Point, effects_chart, front_chart, progress_chart
from mmhybrid.visualization.gene_effects import gene_effects
from mmhybrid.visualization.page_parts import (
    PAGE,
    SCRIPT,
    SCRIPT_HASH,
    STYLE,
    described,
    duration,
    label,
    large_number,
    listed,
    number,
    table,
    wide,
)

NUM_EFFECTS = 15
BESIDE_OTHERS = ('latency_upper_ms',)  # estimates that follow from another one
PAGE_WIDTH = 1040
GAP = 20


def search_page(
    result: SearchResult,
    title: str,
    count: int = 10,
    known: Sequence[KnownNetwork] = (),
    intervals: FrontIntervals | None = None,
) -> str:
    """Return the page as HTML.

    Args:
        result: Result of a search, finished or not.
        title: Name of the search.
        count: Number of rows in the table of the best networks.
        known: Known networks with which those of the search are compared.
        intervals: Intervals of the scores of the front's networks; None if they are unknown.

    Raises:
        SearchError: If nothing was evaluated yet, or every evaluation failed.
        ValueError: If ``count`` is not an int above 0.
    """
    check_int('count', count, 1)
    if not result.evaluated:
        raise SearchError(f'{title} holds no evaluated network yet')
    best = result.best
    sections = [
        ('The best network', _network(result, best)),
        ('Progress', _progress(result)),
        ('Score against cost', _fronts(result, known)),
        *([] if intervals is None else [('How far the front may be trusted', _intervals(intervals))]),
        ('What each choice goes along with', _effects(result)),
        ('Rejected candidates', _rejections(result)),
        (f'The {min(count, len(result.top()))} best', _table_of_best(result, count)),
        ('Settings', _settings(result.settings)),
    ]
    body = '\n'.join(f'<section>\n<h2>{escape(name)}</h2>\n{content}\n</section>' for name, content in sections)
    return PAGE.format(
        title=escape(title), style=STYLE, script=SCRIPT, hash=SCRIPT_HASH, head=_head(result, title), body=body
    )


def _head(result: SearchResult, title: str) -> str:
    settings, evaluated = result.settings, result.evaluated
    failed = len(evaluated) - len(result.top())
    tries = result.rejections()['tries']
    tiles = {
        'evaluated networks': f'{len(evaluated)} of {settings.budget}',
        'networks in the space': large_number(settings.space.size()),
        'proposals drawn': f'{tries}',
    }
    if result.evaluation_hours:
        tiles['of evaluations (GPU hours, if each has a GPU)'] = duration(result.evaluation_hours)
    if len(settings.objectives) > 1:
        tiles['networks on the front'] = f'{len(result.front())}'
    if failed:
        tiles['failed evaluations'] = f'{failed}'
    text = f'<p class="kind">Architecture search</p>\n<h1>{escape(title)}</h1>\n'
    text += f'<p class="result">{escape(_sentence(result))}</p>\n'
    if len(evaluated) < settings.budget:
        text += (
            '<p class="note">The budget is not used up: the search is still running, was stopped, '
            'or found no more new networks within its constraints.</p>\n'
        )
    items = (f'<div><b>{value}</b>{name}</div>' for name, value in tiles.items())
    return f'{text}<div class="tiles">{"".join(items)}</div>'


def _sentence(result: SearchResult) -> str:
    best, objectives = result.best, result.settings.objectives
    names = [name for name in best.estimates if name not in (*_names(objectives), *BESIDE_OTHERS)]
    scores = listed([described(name, best.numbers[name]) for name in _names(objectives)])
    costs = listed([described(name, best.estimates[name]) for name in names])
    among = f'{len(result.evaluated)} evaluated networks'
    start = f'The best of {among}'
    if len(objectives) > 1:
        start = f'{len(result.front())} of {among} are on the front; the best of them by {objectives[0].name}'
    return f'{start} reaches {scores}' + (f' at {costs}.' if costs else '.')


def _network(result: SearchResult, best: Candidate) -> str:
    diagram = _diagram(result, best)
    picture = '' if diagram is None else f'{wide(draw(diagram).svg())}\n'
    place = f'Found in stage “{best.stage}”, generation {best.generation}, place {best.index}.'
    return f'{picture}<p class="note">{escape(place)}</p>\n{_genes(best, opened=diagram is None)}'


def _progress(result: SearchResult) -> str:
    ranked = set(_keys(result.top()))
    numbered = [(i, c) for i, c in enumerate(result.evaluated, start=1) if c.key in ranked]
    stages = {
        stage.name: sum(candidate.stage == stage.name for candidate in result.evaluated)
        for stage in result.settings.stages
    }
    charts = (
        wide(
            progress_chart(
                [Point(i, c.numbers[objective.name], _title(c)) for i, c in numbered],
                objective,
                {name: count for name, count in stages.items() if count},
                PAGE_WIDTH,
            ).svg()
        )
        for objective in result.settings.objectives
    )
    return '\n'.join(charts) + '\n<p class="note">Dots: evaluated networks, in order. Line: the best so far.</p>'


def _fronts(result: SearchResult, known: Sequence[KnownNetwork]) -> str:
    top, best = result.top(), result.best
    costs = [name for name in sorted(best.estimates) if name not in BESIDE_OTHERS]
    scores = [objective for objective in result.settings.objectives if objective.name not in best.estimates]
    bounds = {
        constraint.name: [bound for bound in (constraint.min, constraint.max) if bound is not None]
        for constraint in result.settings.constraints
    }
    if not scores or not costs:
        return '<p class="note">There is no candidate with both a score and an estimate.</p>'
    columns = min(len(costs), 3)
    width = (PAGE_WIDTH - (columns - 1) * GAP) / columns

    def chart(objective: Objective, cost: str) -> str:
        points = [Point(c.numbers[cost], c.numbers[objective.name], _title(c)) for c in top]
        beside = [
            Landmark(network.name, network.numbers[cost], network.numbers.get(objective.name))
            for network in known
            if cost in network.numbers
        ]
        return front_chart(points, points[0], cost, objective, bounds.get(cost, []), beside, width).svg()

    charts = '\n'.join(chart(objective, cost) for objective in scores for cost in costs)
    note = 'Dark and joined: networks that no other beats in both. Orange: the best network. Dashed: a constraint.'
    grid = f'<div class="charts" style="grid-template-columns:repeat({columns},1fr)">\n{charts}\n</div>'
    if not known:
        return f'{grid}\n<p class="note">{note}</p>'
    names = [*(objective.name for objective in scores), *costs]
    rows = [
        [escape(network.name), *(number(network.numbers[name]) if name in network.numbers else '-' for name in names)]
        for network in known
    ]
    head = ['known network', *(escape(label(name)) for name in names)]
    note += (
        ' Green: networks that are known, with their scores where the search evaluated them; those that cost far more '
        'or less than the others are in the table alone.'
    )
    return f'{grid}\n<p class="note">{note}</p>\n{table(head, rows, range(len(head)))}'


def _intervals(intervals: FrontIntervals) -> str:
    rows = []
    for place, network in enumerate(intervals.networks):
        is_last = place + 1 == len(intervals.networks)
        verdict = 'yes' if network.is_above_next else 'cannot be told apart'
        lead = f'{network.lead_low:+.3f} to {network.lead_high:+.3f}'
        numbers = (f'{network.score:.3f}', f'{network.low:.3f} to {network.high:.3f}')
        rows.append([escape(network.name), *numbers, *(('', '') if is_last else (lead, verdict))])
    head = ['network', escape(label(intervals.metric)), '95 % interval', 'lead over the next', 'above the next']
    note = (
        f'Bootstrap over the {intervals.num_images} images that the search scored on: {intervals.draws} samples with '
        'replacement, the same for all networks. The intervals ignore the selection: the best of many networks on some '
        'images is a little worse on others.'
    )
    return f'{table(head, rows)}\n<p class="note">{note}</p>'


def _effects(result: SearchResult) -> str:
    objective, top = result.settings.objectives[0], result.top()
    effects = gene_effects(result.settings.space, top, objective)
    if not effects:
        return '<p class="note">No choice took two values yet.</p>'
    center = sum(candidate.numbers[objective.name] for candidate in top) / len(top)
    shown = effects[:NUM_EFFECTS]
    note = (
        f'For each choice, the mean of {label(objective.name)} over the evaluated networks with each of its values, '
        'from light (the smallest value) to dark (the largest). The grey band shows the gap between the best and the '
        'worst mean that chance alone gives: in 95 % of 200 random assignments of the scores to the networks, the gap '
        f'is smaller. The chart has the {len(shown)} of {len(effects)} choices that exceed the band most. A search '
        'does not draw its networks evenly, so this shows what goes along with a good score, not what causes it.'
    )
    chart = effects_chart(shown, objective, center, PAGE_WIDTH)
    return f'{wide(chart.svg())}\n<p class="note">{escape(note)}</p>'


def _rejections(result: SearchResult) -> str:
    stages = [stage.name for stage in result.settings.stages if stage.rank_by is None]
    counts = {
        name: SearchResult(result.settings, tuple(c for c in result.history if c.stage == name)).rejections()
        for name in stages
    }
    if len(stages) == 1:
        stages = []
    total = result.rejections()
    reasons = sorted((name for name in total if name != 'tries'), key=lambda name: (name == KNOWN, -total[name], name))

    def share(reason: str, among: Mapping[str, int]) -> str:
        return f'{among.get(reason, 0) / among["tries"]:.1%}' if among['tries'] else '-'

    rows = [
        [
            escape(reason),
            f'<span class="bar"><i style="width:{total[reason] / total["tries"]:.1%}"></i></span>',
            share(reason, total),
            *(share(reason, counts[name]) for name in stages),
        ]
        for reason in reasons
    ]
    rows.append(['proposals drawn', '', str(total['tries']), *(str(counts[name]['tries']) for name in stages)])
    shares = table(['rejected for', '', 'all', *map(escape, stages)], rows)
    note = (
        'Shares of the proposals drawn until each candidate was found. A network outside several bounds counts for '
        'each of them. The draws of stages that evaluate nothing, and of places that were given up, are neither stored '
        'nor counted.'
    )
    return f'{shares}\n<p class="note">{note}</p>'


def _table_of_best(result: SearchResult, count: int) -> str:
    top = result.top(count)
    names = list(dict.fromkeys([*_names(result.settings.objectives), *(name for c in top for name in c.numbers)]))
    is_drawn = _diagram(result, top[0]) is not None
    rows = []
    for rank, candidate in enumerate(top, start=1):
        diagram = _diagram(result, candidate)
        rows.append(
            [
                str(rank),
                *([] if diagram is None else [thumbnail(diagram).svg()]),
                *(number(candidate.numbers[name]) if name in candidate.numbers else '' for name in names),
                escape(f'{candidate.stage} {candidate.generation}.{candidate.index}'),
                _genes(candidate),
            ]
        )
    words = [escape(label(name)) for name in names]
    head = ['rank', *(['network'] if is_drawn else []), *words, 'stage generation.place', 'arch']
    first = 2 if is_drawn else 1
    best = table(head, rows, {0, *range(first, first + len(words))})
    return f'{best}\n<p class="note">A click on the name of a column sorts by it.</p>'


def _settings(settings: SearchSettings) -> str:
    config = settings.to_config()
    facts = {
        'space': ', '.join([f'{Decimal(settings.space.size()):.4g} networks', _plain(config['space'])]),
        'objectives': ', '.join(f'{objective.direction} {objective.name}' for objective in settings.objectives),
        'constraints': ', '.join(_bounds(c.name, c.min, c.max) for c in settings.constraints) or 'none',
        'seed': str(settings.seed),
        'max_tries': str(settings.max_tries),
    }
    rows = [[f'<b>{escape(name)}</b>', escape(text)] for name, text in facts.items()]
    stages = [
        [
            escape(stage.name),
            escape(_plain(stage.sampler.to_config())),
            str(stage.budget),
            str(stage.population),
            escape(_scope(stage)),
        ]
        for stage in settings.stages
    ]
    head = ['stage', 'sampler', 'budget', 'population', 'what is particular']
    whole = escape(json.dumps(config, indent=2))
    details = f'<details><summary>as JSON</summary><pre>{whole}</pre></details>'
    return f'{table([], rows)}\n{table(head, stages)}\n{details}'


def _scope(stage: Stage) -> str:
    """Return a text on how a stage differs from sampling the whole space."""
    told = []
    if stage.rank_by:
        told.append(f'evaluates nothing, ranks by {stage.rank_by.name} ({stage.rank_by.direction})')
    if stage.skeletons:
        told.append(f'starts from {stage.skeletons.count} skeletons of {stage.skeletons.stage}')
    if stage.fix:
        told.append(f'keeps {", ".join(stage.fix.genes)} of number {stage.fix.rank + 1} of {stage.fix.stage}')
    if stage.space:
        told.append(f'in {_plain(stage.space.to_config())}')
    if stage.restrict:
        told.append(f'where {_plain(stage.restrict)}')
    return '; '.join(told) or '-'


def _plain(config: Mapping[str, object]) -> str:
    """Return the type and then the arguments of a config; longer arguments are left to the JSON."""
    items = (f'{name} {json.dumps(value)}' for name, value in config.items() if name != 'type')
    kind = [str(config['type'])] if 'type' in config else []
    return ', '.join([*kind, *(item for item in items if len(item) < 60)])


def _bounds(name: str, low: float | None, high: float | None) -> str:
    return f'{"" if low is None else f"{low:g} ≤ "}{name}{"" if high is None else f" ≤ {high:g}"}'


def _diagram(result: SearchResult, candidate: Candidate) -> Diagram | None:
    """Return the diagram of a candidate, or None if its space has none."""
    try:
        return arch_diagram(result.settings.space, candidate.arch)
    except ValueError:
        return None


def _genes(candidate: Candidate, opened: bool = False) -> str:
    text = escape(candidate.arch.to_json())
    return f'<details{" open" if opened else ""}><summary>genes</summary><code>{text}</code></details>'


def _title(candidate: Candidate) -> str:
    numbers = ', '.join(described(name, value) for name, value in candidate.numbers.items())
    return f'{candidate.stage} {candidate.generation}.{candidate.index}: {numbers}'


def _names(objectives: Sequence[Objective]) -> list[str]:
    return [objective.name for objective in objectives]


def _keys(candidates: Sequence[Candidate]) -> list[tuple[str, int, int]]:
    return [candidate.key for candidate in candidates]
