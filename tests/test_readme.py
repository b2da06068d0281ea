"""What the README states is what the tools print."""

import re
from pathlib import Path

from presets_table import presets_markdown

from mmhybrid.models.presets import PUBLISHED

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()


def test_table_of_presets() -> None:
    stated = re.search(r'<!-- presets -->\n(.*)<!-- /presets -->', README, re.DOTALL)
    assert stated is not None
    assert stated.group(1).strip() == presets_markdown().strip()


def test_presets_have_a_row_each() -> None:
    rows = [[cell.strip() for cell in line.split('|')[1:3]] for line in presets_markdown().splitlines()]
    assert rows[2:] == [[preset.family, preset.arch] for preset in PUBLISHED]


def test_paths_exist() -> None:
    """Commands and links name files that are there."""
    paths = re.findall(r'(?:python|bash) (\S+\.(?:py|sh))|(configs/\S+\.py)|\]\(((?:docs/)?\w+\.md|LICENSE)\)', README)
    named = {path for groups in paths for path in groups if path and '*' not in path}
    assert len(named) > 8
    missing = [path for path in named if not (ROOT / path).is_file()]
    assert not missing
