"""The frame and the tables of an HTML page, and the format of its numbers."""

import base64
import hashlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mmhybrid.visualization.picture import FONT


@dataclass(frozen=True)
class Quantity:
    """The words for an estimate or a metric on a page.

    Args:
        label: Name beside an axis or above a column, with its unit.
        pattern: Text in a sentence, with a place for the number.
    """

    label: str
    pattern: str


QUANTITIES = {
    'accuracy/top1': Quantity('top-1 accuracy, %', '{} % top-1 accuracy'),
    'accuracy/top5': Quantity('top-5 accuracy, %', '{} % top-5 accuracy'),
    'coco/bbox_mAP': Quantity('box AP', 'box AP {}'),
    'coco/segm_mAP': Quantity('mask AP', 'mask AP {}'),
    'mIoU': Quantity('mIoU, %', '{} % mIoU'),
    'latency_ms': Quantity('latency, ms', '{} ms'),
    'latency_upper_ms': Quantity('upper bound of latency, ms', 'at most {} ms'),
    'macs_m': Quantity('MACs, millions', '{} M MACs'),
    'params_m': Quantity('parameters, millions', '{} M parameters'),
}


def wide(content: str) -> str:
    """Return a picture or a table as wide as the page; on a narrow screen it scrolls by itself."""
    return f'<div class="wide">{content}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], sortable: Container[int] = ()) -> str:
    """Return a table as HTML.

    Args:
        head: Names of the columns; none for a table without a head.
        rows: The cells of each row, which are HTML already.
        sortable: Columns whose name sorts the rows when it is clicked, counted from 0.
    """

    def line(cells: Iterable[str], tag: str) -> str:
        return '<tr>' + ''.join(f'<{tag}>{cell}</{tag}>' for cell in cells) + '</tr>'

    names = [f'<button type="button">{name}</button>' if i in sortable else name for i, name in enumerate(head)]
    lines = [*([line(names, 'th')] if head else []), *(line(row, 'td') for row in rows)]
    return wide('\n'.join(['<table>', *lines, '</table>']))


def label(name: str) -> str:
    """Return the words for an estimate or a metric, with its unit; its name if there are none."""
    return QUANTITIES[name].label if name in QUANTITIES else name


def described(name: str, value: float) -> str:
    """Return an estimate or a metric as text, with its unit if it has one."""
    return QUANTITIES[name].pattern.format(number(value)) if name in QUANTITIES else f'{name} = {number(value)}'


def listed(texts: Sequence[str]) -> str:
    """Join texts with commas, and with "and" before the last."""
    return ' and '.join([', '.join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def number(value: float) -> str:
    """Return a number as text with four significant digits."""
    return f'{value:.4g}'


def large_number(count: int) -> str:
    """Return a count as HTML, with a power of ten from one million upwards."""
    if count < 10**6:
        return f'{count:,}'
    mantissa, _, exponent = f'{Decimal(count):.1e}'.partition('e')  # a float may be too small for the count
    return f'{mantissa} &times; 10<sup>{int(exponent)}</sup>'


def duration(hours: float) -> str:
    """Return a duration as text in hours, or in minutes if it is less than one hour."""
    return f'{hours:.1f} h' if hours >= 1 else f'{60 * hours:.1f} min'


STYLE = (
    """
body { margin: 0; background: #f5f6f8; color: #1f2933; font: 15px/1.5 """
    + FONT
    + """; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 17px; margin: 0 0 14px; }
section { background: #fff; border: 1px solid #e3e7ec; border-radius: 10px; padding: 20px 24px; margin: 20px -24px 0; }
svg { display: block; max-width: 100%; height: auto; }
.kind { color: #c2410c; font-size: 13px; font-weight: 600; margin: 0; }
sup { font-size: 60%; }
.result { font-size: 19px; margin: 0 0 8px; }
.note { color: #6b7785; font-size: 13px; margin: 10px 0 0; max-width: 900px; }
.tiles { display: flex; flex-wrap: wrap; gap: 20px 40px; margin: 20px 0 28px; color: #6b7785; font-size: 13px; }
.tiles b { display: block; font-size: 22px; line-height: 1.3; color: #1f2933; font-weight: 600; }
.charts { display: grid; gap: 20px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
.wide + .wide { margin-top: 20px; }
th { text-align: left; color: #6b7785; font-weight: 500; }
th, td { padding: 6px 16px 6px 0; border-bottom: 1px solid #eceff3; vertical-align: middle; }
td b { font-weight: 500; color: #6b7785; }
th button { all: unset; cursor: pointer; color: #3d5fa8; }
th button:focus-visible { outline: 2px solid #3d5fa8; }
th[aria-sort=ascending] button::after { content: ' ▲'; }
th[aria-sort=descending] button::after { content: ' ▼'; }
.wide { overflow-x: auto; }
.wide > svg { width: 100%; min-width: 640px; }
@media (max-width: 700px) { .charts { grid-template-columns: 1fr !important; } }
summary { cursor: pointer; white-space: nowrap; color: #3d5fa8; font-size: 13px; }
code, pre { font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; }
.bar { display: block; width: min(280px, 25vw); height: 10px; background: #eceff3; border-radius: 2px; }
.bar i { display: block; height: 10px; background: #c2410c; border-radius: 2px; }
"""
)
SCRIPT = """
for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => {
    const head = button.parentElement, table = head.closest('table');
    const descending = head.ariaSort === 'ascending';
    for (const other of table.rows[0].cells) other.removeAttribute('aria-sort');
    head.ariaSort = descending ? 'descending' : 'ascending';
    const value = (row) => row.cells[head.cellIndex].textContent;
    const order = (a, b) => {
      const [x, y] = [Number.parseFloat(value(a)), Number.parseFloat(value(b))];
      if (Number.isNaN(x) || Number.isNaN(y)) {
        return Number.isNaN(x) - Number.isNaN(y) || value(a).localeCompare(value(b));
      }
      return descending ? y - x : x - y;
    };
    head.parentElement.after(...[...table.rows].slice(1).sort(order));
  });
}
"""
# A page shows names from storages, so the browser runs the script with this hash and no other.
SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{head}
{body}
</main>
<script>{script}</script>
</body>
</html>
"""
