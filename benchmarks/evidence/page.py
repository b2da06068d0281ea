"""Writes the table of the studies, which is at the head of docs/results.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence.claims import Elsewhere, Row
from evidence.picture import differences
from evidence.verdicts import MOST_SEEDS, NO_CLAIM, UNDECIDED, Bystander, Claim, Ordering, SameRanks
from mmhybrid.utils.files import read_json, write_whole

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'docs/evidence'
PAGE = ROOT / 'docs/results.md'
PICTURE = 'differences.svg'
BEGIN, END = '<!-- written by benchmarks/evidence/run.py -->', '<!-- end -->'
HEAD = ('claim', 'source', 'ordering', 'published', 'here (top-1, %)', 'difference', 'seeds', 'verdict')
UNITS = {'mIoU': ' mIoU', 'coco/bbox_mAP': ' AP'}  # of what is no top-1


def render(rows: Sequence[Row], studies: Mapping[str, Mapping[str, Any]], elsewhere: Sequence[Elsewhere] = ()) -> str:
    """The table in Markdown with a line for each ordering, the picture and the notes; rows without a study say so."""
    lines = ['| ' + ' | '.join(HEAD) + ' |', '| --- ' * len(HEAD) + '|']
    for row in rows:
        for number, ordering in enumerate(row.orderings):
            points = ordering.published if isinstance(ordering, Ordering) else None
            published = '' if points is None else f'{points:+.1f}'
            first = [f'{row.claim} (`{row.name}`)', row.source] if number == 0 else ['', '']
            found = _found(ordering, studies.get(row.name), number)
            lines.append('| ' + ' | '.join([*first, str(ordering), published, *found]) + ' |')
    for other in elsewhere:
        for number, (claimed, found, said) in enumerate(other.found):
            first = [f'{other.claim} ({other.where})', other.source] if number == 0 else ['', '']
            lines.append('| ' + ' | '.join([*first, claimed, '', found, '', '', f'**{said}**']) + ' |')
    picture = [f'![Differences and their intervals]({RESULTS.name}/{PICTURE})', ''] if studies else []
    notes = [f'- `{row.name}`: {row.note}' for row in rows if row.note]
    notes += [f'- {other.where}: {other.note}' for other in elsewhere]
    return '\n'.join([*lines, '', *picture, *notes]).rstrip('\n') + '\n'


def read_studies(folder: Path) -> dict[str, dict[str, Any]]:
    """The recorded studies in a folder, by the names of their rows."""
    return {path.stem: read_json(path) for path in sorted(folder.glob('*.json'))}


def write_page(rows: Sequence[Row], results: Path, page: Path, elsewhere: Sequence[Elsewhere] = ()) -> None:
    """Write the table of the studies in ``results`` between its marks in ``page``, and draw their picture."""
    studies = read_studies(results)
    if studies:
        write_whole(results / PICTURE, differences(rows, studies).svg_file())
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    write_whole(page, f'{before}{BEGIN}\n\n{render(rows, studies, elsewhere)}\n{END}{after}')


def _found(ordering: Claim, study: Mapping[str, Any] | None, number: int) -> list[str]:
    if study is None:
        return ['', '', '', 'not run yet']
    arms, found = study['findings']['arms'], study['findings']['orderings'][number]
    if isinstance(ordering, SameRanks):
        here = ', '.join(f'{low:.1f} to {high:.1f}' for low, high in found['ranges'])
        tau = f'tau {found["mean"]:.2f} ({found["low"]:.2f} to {found["high"]:.2f})'
        return [here, tau, str(found['count']), _told(found)]
    unit = UNITS.get(study.get('about', {}).get('metric'), '')
    here = ', '.join(f'{arms[name]["mean"]:.1f} {_within(arms[name])}' for name in ordering.arms) + unit
    if isinstance(ordering, Bystander):
        return [here, '', str(found['count']), NO_CLAIM]
    difference = f'{found["mean"]:+.1f} {_within(found, "+")}'
    return [here, difference, str(found['count']), _told(found)]


def _within(interval: Mapping[str, float], sign: str = '') -> str:
    return f'({interval["low"]:{sign}.1f} to {interval["high"]:{sign}.1f})'


def _told(found: Mapping[str, Any]) -> str:
    if found['verdict'] != UNDECIDED:
        return f'**{found["verdict"]}**'
    what = 'seeds' if 'seeds_needed' in found else 'networks'
    needed = found[f'{what}_needed'] or f'more than {MOST_SEEDS:,}'
    return f'{UNDECIDED}; a {"difference" if what == "seeds" else "tau"} of this size would take {needed} {what}'
