"""CITATION.cff."""

from pathlib import Path

import yaml

from mmhybrid import __version__

ROOT = Path(__file__).resolve().parents[1]
CITATION = yaml.safe_load((ROOT / 'CITATION.cff').read_text())


def test_states_this_version_and_licence() -> None:
    assert CITATION['cff-version'] == '1.2.0'
    assert CITATION['version'] == __version__
    assert CITATION['license'] == 'Apache-2.0'
    assert all(CITATION[field] for field in ('message', 'title', 'authors'))


def test_refers_to_the_papers_of_the_model_index() -> None:
    metafiles = [yaml.safe_load(path.read_text()) for path in (ROOT / 'configs').glob('*/metafile.yml')]
    titles = {metafile['Collections'][0]['Paper']['Title'] for metafile in metafiles}
    assert {reference['title'] for reference in CITATION['references']} == titles
    for reference in CITATION['references']:
        assert all(reference[field] for field in ('type', 'authors', 'year'))
