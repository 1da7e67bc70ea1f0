"""The table and the chart of a run."""
import statistics

# Less is better, except where it says requests a second.
CHARTED = ["S1 CPU µs/request", "S4 CPU µs/request", "S2 CPU µs/event", "S3 CPU µs/event", "S5 CPU µs/request",
           "memory idle MiB", "memory KiB/stream"]
COLOURS = {"haproxy": "#8d99ae", "nginx": "#5e6f64", "weir": "#d1495b"}


def figures(results):
    """Figures in the order in which they first came."""
    return list(dict.fromkeys(figure for rounds in results.values() for one in rounds for figure in one))


def values(rounds, figure):
    return [one[figure] for one in rounds if figure in one]


def better_of(results, figure, index):
    """The better of the peers in one round; `None` where a peer has no such round."""
    peers = [rounds[index][figure] for name, rounds in results.items()
             if name != "weir" and index < len(rounds) and figure in rounds[index]]
    if not peers:
        return None
    return max(peers) if figure.endswith("requests/s") else min(peers)


def ratio(results, figure):
    """Weir over the better of the peers: the median of the ratios within each round."""
    ratios = [one[figure] / best for index, one in enumerate(results.get("weir", []))
              if figure in one and (best := better_of(results, figure, index))]
    return statistics.median(ratios) if ratios else None


def short(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(results, notes):
    lines = [f"- {note}" for note in notes] + [""]
    lines.append("| median of the rounds | " + " | ".join(results) + " | weir / better of the others |")
    lines.append("|---|" + "---:|" * (len(results) + 1))
    for figure in figures(results):
        cells = [short(statistics.median(found)) if (found := values(rounds, figure)) else "–"
                 for rounds in results.values()]
        against = ratio(results, figure)
        cells.append(f"{against:.2f}" if against is not None else "–")
        lines.append(f"| {figure} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def chart(results):
    """Bars, each figure relative to the largest of its gateways; shorter is better."""
    rows = [figure for figure in CHARTED if figure in figures(results)]
    bar, gap, left, width = 16, 14, 190, 420
    height = 40 + len(rows) * (len(results) * bar + gap)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{height}" '
             'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="#ffffff"/>']
    for index, name in enumerate(results):
        parts.append(f'<rect x="{left + index * 100}" y="10" width="12" height="12" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{left + 18 + index * 100}" y="20">{name}</text>')
    top = 36
    for figure in rows:
        medians = {name: statistics.median(found) for name, rounds in results.items()
                   if (found := values(rounds, figure))}
        largest = max(medians.values()) or 1
        parts.append(f'<text x="{left - 8}" y="{top + bar}" text-anchor="end">{figure}</text>')
        for name, value in medians.items():
            length = max(1, width * value / largest)
            parts.append(f'<rect x="{left}" y="{top}" width="{length:.1f}" height="{bar - 3}" fill="{COLOURS[name]}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{top + bar - 5}">{short(value)}</text>')
            top += bar
        top += gap
    return "\n".join(parts) + "\n</svg>\n"
