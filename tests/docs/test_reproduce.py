"""docs/reproduce.md names every config that has a published result, and says that result."""

import re

import pytest
from command_checks import expanded
from doc_blocks import ROOT

from mmhybrid.models.families import FAMILIES

pytestmark = pytest.mark.docs
TEXT = (ROOT / 'docs/reproduce.md').read_text()
FOLDERS = [family.config_folder for family in FAMILIES.values()]


def rows(family: str) -> list[tuple[set[str], str]]:
    """The configs of each row of a family's table, and the row's published figures."""
    section = re.search(rf'In `configs/{family}`\.\n\n(.*?)\n\n', TEXT, re.DOTALL)
    assert section is not None
    found: list[tuple[set[str], str]] = []
    for line in section[1].splitlines()[2:]:
        cells = line.split('|')[1:-1]
        # `supernet_` and `search_x.py` are two configs of one name
        names = re.sub(r'`supernet_` and `search_([^`]*)`', r'`{supernet,search}_\1`', cells[1])
        configs = {name for span in re.findall(r'`([^`]*\.py)`', names) for name in expanded(span) if '/' not in name}
        found.append((configs, cells[2]))
    return found


def published(family: str) -> dict[str, str]:
    """What each config says, those without a published result left out."""
    said = {}
    for path in (ROOT / 'configs' / family).glob('*.py'):
        found = re.search(r'\nPublished: (.*)', path.read_text())
        assert found is not None
        if not found[1].startswith('none'):
            said[path.name] = found[1]
    return said


@pytest.mark.parametrize('family', FOLDERS)
def test_names_every_config_with_a_published_result(family: str) -> None:
    named = set.union(*(configs for configs, _ in rows(family)))
    assert not {name for name in named if not (ROOT / 'configs' / family / name).is_file()}
    assert published(family).keys() <= named


@pytest.mark.parametrize('family', FOLDERS)
def test_figures_are_those_of_the_configs(family: str) -> None:
    """The first figure of a config's docstring, an accuracy, AP or mIoU, stands in each of its rows."""
    said = published(family)
    for configs, figures in rows(family):
        for name in configs & said.keys():
            figure = re.match(r'[\d.]+', said[name])
            assert figure is not None
            assert re.search(rf'(?<![\d.]){re.escape(figure[0])}(?!\d)', figures), (name, figure[0], figures)
