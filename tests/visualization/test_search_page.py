"""The page of a search: complete, self-contained, and the same each time."""

import html
import math
import re
from html.parser import HTMLParser

import pytest
from search_toys import AUTOVIT, TOP1, Smooth, Toy, in_memory, random_stage, settings

from mmhybrid.search import Constraint, Evolution, Objective, RandomSampler, SearchError, SearchResult, Skeletons, Stage
from mmhybrid.search.intervals import FrontIntervals, ScoreInterval
from mmhybrid.search.result import KnownNetwork
from mmhybrid.visualization.arch_drawing import arch_diagram, draw
from mmhybrid.visualization.search_page import search_page

STAGES = [
    Stage('coarse', RandomSampler(), budget=20, population=20, rank_by=Objective('macs_m')),
    Stage('fine', Evolution(num_parents=4), budget=30, population=10, skeletons=Skeletons('coarse', 4)),
    Stage('last', Evolution(num_parents=4), budget=10, population=10),
]
TWO = [TOP1, Objective('params_m', 'minimize')]
VOID = {'meta', 'rect', 'circle', 'polyline'}


class Reader(HTMLParser):
    """Text and tags of a page whose elements are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def found(stages=STAGES, space=AUTOVIT, score=None, **options):
    plan = settings(space, stages, **options)
    return SearchResult(plan, tuple(in_memory(plan, score or Smooth(space))))


@pytest.fixture(scope='module')
def result():
    return found(constraints=[Constraint('params_m', max=620.0)], seed=7)


@pytest.fixture(scope='module')
def page(result):
    return search_page(result, 'work')


def test_is_one_html_document(page):
    reader = Reader(page)
    assert page.startswith('<!DOCTYPE html>')
    assert reader.tags[:2] == ['html', 'head']
    assert reader.tags.count('h1') == 1
    assert {'title', 'style', 'svg', 'table'} <= set(reader.tags)


def test_refers_to_nothing_outside(page):
    reader = Reader(page)
    assert reader.tags.count('script') == 1  # the page's own, without a source
    assert not {'link', 'iframe', 'img', 'image', 'use', 'a'} & set(reader.tags)
    assert not {'src', 'href', 'xlink:href', 'data', 'xmlns'} & {name for name, _ in reader.attributes}
    assert not re.search(r'https?:|url\(|@import|//', page)


def test_states_the_result_and_the_settings(page, result):
    text = ' '.join(Reader(page).text)
    best = result.best
    assert f'top1 = {best.metrics["top1"]:.4g}' in text
    assert f'{best.estimates["params_m"]:.4g} M parameters' in text
    assert '40 of 40' in text
    for part in ('coarse', 'Evolution', 'params_m ≤ 620', 'AutoViTSpace', 'starts from 4 skeletons of coarse'):
        assert part in text
    assert '"seed": 7' in text


def test_draws_the_best_network(page, result):
    assert draw(arch_diagram(AUTOVIT, result.best.arch)).svg() in page


def test_names_every_evaluated_network_and_the_genes_of_the_best(page, result):
    assert len(result.evaluated) == 40
    for candidate in result.evaluated:
        title = f'{candidate.stage} {candidate.generation}.{candidate.index}: '
        title += f'{candidate.estimates["params_m"]:.4g} M parameters'
        # once in the progress, once in each of two fronts; marked ones once more
        assert page.count(f'<title>{title}') >= 3
    for candidate in result.top(10):
        assert html.escape(candidate.arch.to_json()) in page
    assert html.escape(result.top()[10].arch.to_json()) not in page
    assert html.escape(result.top()[2].arch.to_json()) not in search_page(result, 'work', count=2)


def test_counts_what_was_rejected(page, result):
    rejections = result.rejections()
    cells = re.findall(r'<td>(.*?)</td>', page)
    row = cells[cells.index('params_m &lt;= 620') :]
    evaluated = SearchResult(result.settings, tuple(c for c in result.history if c.stage == 'fine')).rejections()
    assert row[2] == f'{rejections["params_m <= 620"] / rejections["tries"]:.1%}'
    assert row[3] == f'{evaluated["params_m <= 620"] / evaluated["tries"]:.1%}'


def test_known_networks_stand_beside_the_front(page, result):
    middle = sorted(c.estimates['params_m'] for c in result.evaluated)[20]
    known = [
        KnownNetwork('starting <network>', {'params_m': middle, 'top1': result.best.metrics['top1']}),
        KnownNetwork('large', {'params_m': 1e9}),
    ]
    beside = search_page(result, 'work', known=known)
    charts = ''.join(re.findall(r'<svg.*?</svg>', beside, re.DOTALL))
    assert charts.count('>starting &lt;network&gt;</text>') == 1  # its MACs are not known
    assert '>large</text>' not in charts
    cells = re.findall(r'<td>(.*?)</td>', beside)
    row = cells.index('starting &lt;network&gt;')
    assert cells[row + 1 : row + 4] == [f'{result.best.metrics["top1"]:.4g}', '-', f'{middle:.4g}']
    assert cells[cells.index('large') + 1 :][:3] == ['-', '-', '1e+09']
    assert 'known network' not in page


def test_how_far_the_front_may_be_trusted_is_told(page, result):
    intervals = FrontIntervals(
        'coco/bbox_mAP',
        200,
        1000,
        [
            ScoreInterval('net_a', 0.5, 0.46, 0.55, 0.02, 0.09),
            ScoreInterval('net_b', 0.44, 0.41, 0.49, -0.01, 0.03),
            ScoreInterval('net_c', 0.43, 0.39, 0.47),
        ],
    )
    told = search_page(result, 'work', intervals=intervals)
    rows = [row for row in told.split('<tr>') if 'net_' in row]
    assert [('yes' in row, 'cannot be told apart' in row) for row in rows] == [
        *((True, False), (False, True), (False, False))
    ]
    assert '0.460 to 0.550' in rows[0]
    assert '-0.010 to +0.030' in rows[1]
    assert '200 images' in told
    assert 'may be trusted' not in page


def test_the_same_search_gives_the_same_page(page):
    again = found(constraints=[Constraint('params_m', max=620.0)], seed=7)
    assert search_page(again, 'work') == page


def test_names_are_escaped():
    page = search_page(found([random_stage(name='<b>a & "b"')]), '<i>work</i>')
    reader = Reader(page)
    assert '<i>work' not in page
    assert '<b>a' not in page
    assert '<i>work</i>' in ''.join(reader.text)


@pytest.mark.parametrize('count', [1, 2, 25])
def test_an_unfinished_search_says_so(result, page, count):
    evaluated = result.evaluated[:count]
    unfinished = search_page(SearchResult(result.settings, tuple(evaluated)), 'work')
    Reader(unfinished)
    assert f'{count} of 40' in unfinished
    assert 'The budget is not used up' in unfinished
    assert 'The budget is not used up' not in page


def test_several_objectives_have_a_progress_and_a_front_each():
    result = found(objectives=TWO)
    page = search_page(result, 'work')
    Reader(page)
    assert f'{len(result.front())} of 40 evaluated networks are on the front' in page
    for label in ('top1 of each', 'parameters, millions of each', 'top1 against MACs, millions'):
        assert page.count(f'aria-label="{label}') == 1


def test_failed_evaluations_are_counted_and_left_out(result):
    scores = [c if i % 4 else c.evaluated({'top1': math.nan}) for i, c in enumerate(result.evaluated)]
    page = search_page(SearchResult(result.settings, tuple(scores)), 'work')
    Reader(page)
    assert '<b>10</b>failed evaluations' in page
    assert 'nan' not in ''.join(re.findall(r'<svg.*?</svg>', page, re.DOTALL))


def test_without_a_network_there_is_no_page(result):
    with pytest.raises(SearchError, match='work holds no evaluated network yet'):
        search_page(SearchResult(result.settings, ()), 'work')
    failed = tuple(c.evaluated({'top1': math.inf}) for c in result.evaluated)
    with pytest.raises(SearchError, match='no score is a finite number'):
        search_page(SearchResult(result.settings, failed), 'work')
    with pytest.raises(ValueError, match='count'):
        search_page(result, 'work', count=0)


def test_a_space_of_another_family_is_told_by_its_genes():
    result = found([random_stage()], Toy(5, 3))
    page = search_page(result, 'work')
    Reader(page)
    assert f'<details open><summary>genes</summary><code>{html.escape(result.best.arch.to_json())}' in page
