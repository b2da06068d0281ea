"""The frame and the tables of an HTML page, and the format of its numbers."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from mmhybrid.visualization.picture import FONT

UNITS = {
    'latency_ms': '{} ms',
    'macs_m': '{} M MACs',
    'params_m': '{} M parameters',
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as HTML; its cells must be HTML already."""

    def line(cells: Sequence[str], tag: str) -> str:
        return '<tr>' + ''.join(f'<{tag}>{cell}</{tag}>' for cell in cells) + '</tr>'

    return '\n'.join(['<table>', *([line(head, 'th')] if head else []), *(line(row, 'td') for row in rows), '</table>'])


def described(name: str, value: float) -> str:
    """Return an estimate or a metric as text, with its unit if it has one."""
    return UNITS[name].format(number(value)) if name in UNITS else f'{name} = {number(value)}'


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
.tiles { display: flex; gap: 40px; margin: 20px 0 28px; color: #6b7785; font-size: 13px; }
.tiles b { display: block; font-size: 22px; line-height: 1.3; color: #1f2933; font-weight: 600; }
.charts { display: grid; gap: 20px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
table + table { margin-top: 20px; }
th { text-align: left; color: #6b7785; font-weight: 500; }
th, td { padding: 6px 16px 6px 0; border-bottom: 1px solid #eceff3; vertical-align: middle; }
td b { font-weight: 500; color: #6b7785; }
summary { cursor: pointer; color: #3d5fa8; font-size: 13px; }
code, pre { font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; }
.bar { display: block; width: 280px; height: 10px; background: #eceff3; border-radius: 2px; }
.bar i { display: block; height: 10px; background: #c2410c; border-radius: 2px; }
"""
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{head}
{body}
</main>
</body>
</html>
"""
