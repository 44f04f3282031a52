"""A plot of answers per second and of their latency, as an SVG without script, font or style of others.

Readable on light and dark pages, as it has a ground of its own.
"""

import html

WIDTH, PANEL, GAP, LEFT, RIGHT, TOP = 760, 150, 60, 60, 20, 40
# Of Okabe and Ito, who chose them for all kinds of colour vision.
COLOURS = ("#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7")
STEPS = (1, 2, 5)


def nice(most):
    """The least of 1, 2, 5, 10, 20, … that is not below."""
    scale = 1
    while True:
        for step in STEPS:
            if step * scale >= most:
                return step * scale
        scale *= 10


def text(x, y, words, anchor="start", colour="#222"):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{html.escape(str(words))}</text>'


def line(values, most, top):
    """One value a second, from left to right; None where there is none."""
    step = (WIDTH - LEFT - RIGHT) / max(len(values) - 1, 1)
    known = [(second, value) for second, value in enumerate(values) if value is not None]
    points = [f"{LEFT + second * step:.1f},{top + PANEL * (1 - value / most):.1f}" for second, value in known]
    return " ".join(points)


def panel(title, series, top):
    """Lines by name, below a title and the names in their colours."""
    most = nice(max((value for values in series.values() for value in values if value is not None), default=1) or 1)
    seconds = max(map(len, series.values()))
    right, bottom = WIDTH - RIGHT, top + PANEL
    parts = [text(LEFT, top - 22, title)]
    for value in (0, most / 2, most):
        y = bottom - PANEL * value / most
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ccc"/>')
        parts.append(text(LEFT - 6, f"{y + 4:.1f}", f"{value:g}", "end"))
    for second, anchor in ((0, "start"), (seconds, "end")):
        parts.append(text(LEFT if anchor == "start" else right, bottom + 16, f"{second} s", anchor))
    at = LEFT
    for (name, values), colour in zip(series.items(), COLOURS):
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{line(values, most, top)}"/>')
        parts.append(text(at, top - 6, name, colour=colour))
        at += 8 * len(name) + 16
    return parts


def drawing(title, panels):
    """The file; `panels` are pairs of a title and the lines below it."""
    height = TOP + len(panels) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f"<title>{html.escape(title)}</title>", f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for number, (words, series) in enumerate(panels):
        parts += panel(words, series, TOP + number * (PANEL + GAP))
    return "\n".join([*parts, "</svg>", ""])
