"""The report tool reads storages and leaves them as they are."""

import json
import runpy
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from search_toys import AUTOVIT, TOP1, Smooth, estimate, random_stage, search, settings

from mmhybrid.search import Constraint, Objective, Searcher, StudyStorage
from mmhybrid.space import AutoViTSpace

TOOL = Path(__file__).parents[2] / 'tools' / 'search_report.py'
# no mlp_ratios: rebuilt from what was stored, the default 2 reads 2.0
TABLE = {
    'stem_widths': [16, 24],
    'conv_widths': [[16, 24], [24, 32], [32, 48]],
    'conv_depths': [[1], [1, 2], [1, 2]],
    'widths': [[48, 64], [64, 80], [80, 96]],
    'num_stages': [3],
    'num_heads': [2, 3, 4],
}
PLANS = {
    'presets': settings(AUTOVIT, [random_stage()], constraints=[Constraint('params_m', max=620.0)]),
    'table': settings(AutoViTSpace(TABLE), [random_stage()]),
    'two': settings(AUTOVIT, [random_stage()], [TOP1, Objective('params_m', 'minimize')]),
}


@pytest.fixture(scope='module')
def main():
    return runpy.run_path(str(TOOL))['main']


@pytest.fixture(params=PLANS)
def folder(request, tmp_path):
    """Of a search that ended."""
    search(tmp_path, PLANS[request.param]).write(tmp_path)
    return tmp_path


@pytest.fixture
def finished(tmp_path):
    search(tmp_path, PLANS['presets']).write(tmp_path)
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != 'report.html'}


def test_writes_the_same_page_and_nothing_else(main, folder, capsys):
    before = contents(folder)
    main([str(folder)])
    page = (folder / 'report.html').read_bytes()
    main([str(folder)])
    assert (folder / 'report.html').read_bytes() == page
    assert contents(folder) == before
    assert str(folder / 'report.html') in capsys.readouterr().out


def test_names_the_best_network(main, folder):
    main([str(folder), '--out', str(folder / 'page.html'), '--top', '3'])
    page = (folder / 'page.html').read_text()
    best = json.loads((folder / 'best_arch.json').read_text())
    assert f'top1 = {best["metrics"]["top1"]:.4g}' in page
    assert page.count('<summary>genes</summary>') == 4


def test_reads_a_search_that_is_at_work(main, tmp_path):
    """Each page shows all that is finished, although the search holds its storage locked."""
    seen = []

    class Reader:
        def on_candidate(self, candidate, progress):
            main([str(tmp_path)])
            seen.append(f'{len(seen) + 1} of 6' in (tmp_path / 'report.html').read_text())

        def on_message(self, text):
            raise AssertionError(text)

    search(tmp_path, settings(AUTOVIT, [random_stage(budget=6, population=3)]), watcher=Reader())
    assert seen == [True] * 6


def test_reads_what_a_killed_search_left(main, finished):
    journal = finished / 'search.journal'
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b''.join(lines[:12]) + lines[12][:40])
    before = contents(finished)
    main([str(finished)])
    assert '10 of 40' in (finished / 'report.html').read_text()
    assert contents(finished) == before


def test_reads_a_database(main, tmp_path):
    plan = PLANS['presets']
    url = f'sqlite:///{tmp_path}/search.db'
    Searcher(replace(plan), estimate, Smooth(AUTOVIT), StudyStorage(url, plan), poll_seconds=0.01).run()
    before = contents(tmp_path)
    main([str(tmp_path), '--storage', url])
    assert '40 of 40' in (tmp_path / 'report.html').read_text()
    assert contents(tmp_path) == before


@pytest.mark.parametrize('place', ['sqlite:///{}/search.db', '{}/search.journal'])
def test_lists_the_searches_of_a_storage_and_takes_one(main, fails, tmp_path, capsys, place):
    place = place.format(tmp_path)
    for name, budget in (('first', 4), ('second', 6)):
        plan = replace(PLANS['presets'], stages=[replace(PLANS['presets'].stages[0], budget=budget)])
        Searcher(plan, estimate, Smooth(AUTOVIT), StudyStorage(place, plan, study_name=name)).run()
    before = contents(tmp_path)
    main([str(tmp_path), '--storage', place, '--list'])
    assert capsys.readouterr().out == 'first: 4 evaluated\nsecond: 6 evaluated\n'
    assert contents(tmp_path) == before
    assert "holds no search 'search', but 'first', 'second'" in fails(tmp_path, '--storage', place)
    main([str(tmp_path), '--storage', place, '--study-name', 'second'])
    assert '6 of 6' in (tmp_path / 'report.html').read_text()


@pytest.fixture
def fails(main, capsys):
    """The sentence with which the tool ends."""

    def sentence(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        assert ended.value.code == 2
        return capsys.readouterr().err

    return sentence


def test_mistakes_end_with_one_sentence(fails, finished, tmp_path_factory):
    empty = tmp_path_factory.mktemp('empty')
    assert 'work directory none does not exist' in fails('none')
    assert f'{empty / "search.journal"}: no such file' in fails(empty)
    assert 'no such file' in fails(empty, '--storage', f'sqlite:///{empty}/none.db')
    assert 'its folder does not exist' in fails(finished, '--out', empty / 'none' / 'page.html')
    assert 'count: got 0' in fails(finished, '--top', '0')
    assert '--cfg-options: allowed with --config alone' in fails(finished, '--cfg-options', 'search_cfg.input_size=64')
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize('damage', [lambda text: text[:2000] + b'?' + text[2001:], lambda text: b'no journal\n'])
def test_damage_is_told_and_left_alone(fails, finished, damage):
    journal = finished / 'search.journal'
    journal.write_bytes(damage(journal.read_bytes()))
    before = contents(finished)
    assert 'damaged' in fails(finished)
    assert contents(finished) == before
    assert not (finished / 'report.html').exists()


def test_a_foreign_database_is_left_alone(fails, tmp_path):
    with sqlite3.connect(tmp_path / 'other.db') as database:
        database.execute('create table things (name text)')
    database.close()
    before = contents(tmp_path)
    assert "holds the table 'things', which no search has made" in fails(
        tmp_path, '--storage', f'sqlite:///{tmp_path}/other.db'
    )
    assert contents(tmp_path) == before


def test_a_search_without_an_evaluation_is_told(fails, tmp_path):
    storage = StudyStorage(tmp_path / 'search.journal', PLANS['presets'], shared=True)
    storage.open()
    storage.close()
    assert 'holds no evaluated network yet' in fails(tmp_path)
    assert not (tmp_path / 'report.html').exists()
