#!/usr/bin/env python3
"""A picture of an outage (SVG) from the course of a run of millrace-sim: what devices sent, what arrived at the central side, what
waited in the gateway's log. For README: packaging/quickstart.sh --picture packaging/docs/outage.svg

usage: outage_picture.py COURSE.csv > PICTURE.svg     (COURSE.csv is what `millrace-sim run --course` writes)"""
import csv
import sys

WIDTH, LEFT, RIGHT = 840, 66, 26
TOTAL_TOP, TOTAL_HEIGHT = 64, 170
RATE_TOP, RATE_HEIGHT = 276, 70
HEIGHT = 390
STEP = 0.5  # seconds between points

STYLE = """
  .paper { fill: #ffffff } .ink { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d1d9e0 } .away { fill: #cf222e; fill-opacity: .10 }
  .awaytext { fill: #a40e26 } .sent { stroke: #0969da } .senttext { fill: #0550ae } .arrived { stroke: #1a7f37 } .arrivedtext { fill: #116329 }
  .waits { fill: #bf8700; fill-opacity: .22 } .waitstext { fill: #7d4e00 }
  text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif } .title { font-size: 16px; font-weight: 600 } .small { font-size: 12px }
  polyline { fill: none; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #e6edf3 } .faint { fill: #9198a1 } .grid { stroke: #3d444d } .away { fill: #f85149; fill-opacity: .18 }
    .awaytext { fill: #ff8a80 } .sent { stroke: #4493f8 } .senttext { fill: #79b8ff } .arrived { stroke: #3fb950 } .arrivedtext { fill: #56d364 }
    .waits { fill: #d29922; fill-opacity: .30 } .waitstext { fill: #e3b341 }
  }
"""


def read(path):
    """Rows of seconds, sent, acknowledged, delivered, and whether the central side is away; and one each STEP seconds."""
    with open(path, newline="") as file:
        rows = [(float(r["seconds"]), int(r["sent"]), int(r["acknowledged"]), int(r["delivered"]), r["away"] == "1") for r in csv.DictReader(file)]
    end = next((i for i, row in enumerate(rows) if row[3] == rows[-1][3] and row[1] == rows[-1][1]), len(rows) - 1)
    rows = rows[:end + 1]
    points, due = [], 0.0
    for row in rows:
        if row[0] >= due or row is rows[-1]:
            points.append(row)
            due = row[0] + STEP * 0.99
    return rows, points


def round_up(value):
    """To a number that four steps of the grid make well."""
    steps = (unit * 10 ** power for power in range(9) for unit in (1, 1.5, 2, 2.5, 5, 7.5))
    return next((step * 4 for step in steps if step * 4 >= value), value)


class Picture:
    def __init__(self, rows, points):
        self.rows, self.points, self.out = rows, points, []
        self.end = points[-1][0]
        self.total = round_up(rows[-1][1])
        self.rates = [(a[0], (b[1] - a[1]) / (b[0] - a[0]), (b[3] - a[3]) / (b[0] - a[0])) for a, b in zip(points, points[1:]) if b[0] > a[0]]
        self.rate = round_up(max(max(sent, arrived) for _, sent, arrived in self.rates))

    def x(self, seconds):
        return LEFT + seconds / self.end * (WIDTH - LEFT - RIGHT)

    def y(self, total):
        return TOTAL_TOP + TOTAL_HEIGHT * (1 - total / self.total)

    def y_rate(self, rate):
        return RATE_TOP + RATE_HEIGHT * (1 - rate / self.rate)

    def text(self, x, y, words, classes="ink", anchor="start"):
        self.out.append(f'<text x="{x:.0f}" y="{y:.0f}" class="{classes}"' + (f' text-anchor="{anchor}"' if anchor != "start" else "") + f">{words}</text>")

    def line(self, points, classes):
        self.out.append(f'<polyline class="{classes}" points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>')

    def grid(self, top, height, most, what):
        for i in (0, 1, 2, 3, 4) if height > 100 else (0, 2, 4):
            y = top + height * (1 - i / 4)
            self.out.append(f'<path class="grid" d="M{LEFT} {y:.0f}H{WIDTH - RIGHT}"/>')
            self.text(LEFT - 8, y + 4, f"{most * i / 4:,.0f}", "faint small", "end")
        self.text(LEFT, top - 8, what, "faint small")

    def draw(self):
        sent, delivered = self.rows[-1][1], self.rows[-1][3]
        away = [row[0] for row in self.rows if row[4]]
        waiting, at = max((row[2] - row[3], row[0]) for row in self.rows)
        self.out.append(f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>')
        self.text(LEFT, 26, f"The central side is away for {away[-1] - away[0]:.0f} s: {sent:,} readings sent, {delivered:,} arrived, {sent - delivered:,} lost", "ink title")
        begin, back = self.x(away[0]), self.x(away[-1])
        self.out.append(f'<path class="away" d="M{begin:.0f} {TOTAL_TOP}H{back:.0f}V{RATE_TOP + RATE_HEIGHT}H{begin:.0f}Z"/>')
        self.text((begin + back) / 2, TOTAL_TOP + 18, "central side away", "awaytext", "middle")
        self.grid(TOTAL_TOP, TOTAL_HEIGHT, self.total, "readings in total")
        self.grid(RATE_TOP, RATE_HEIGHT, self.rate, "readings a second")
        gap = [p for p in self.points if away[0] - 1 <= p[0] and p[0] <= at + 10]
        self.out.append('<path class="waits" d="M' + "L".join(f"{self.x(p[0]):.1f} {self.y(p[1]):.1f}" for p in gap) + "L" +
                        "L".join(f"{self.x(p[0]):.1f} {self.y(p[3]):.1f}" for p in reversed(gap)) + 'Z"/>')
        self.line([(self.x(p[0]), self.y(p[3])) for p in self.points], "arrived")
        self.line([(self.x(p[0]), self.y(p[1])) for p in self.points], "sent")
        self.line([(self.x(t), self.y_rate(arrived)) for t, _, arrived in self.rates], "arrived")
        self.line([(self.x(t), self.y_rate(rate)) for t, rate, _ in self.rates], "sent")
        middle = self.rows[min(range(len(self.rows)), key=lambda i: abs(self.rows[i][0] - (away[0] + away[-1]) / 2))]
        self.text(self.x(middle[0]) - 10, self.y(middle[1]) - 10, "sent", "senttext", "end")
        caught_up = next((row[0] for row in self.rows if row[0] > at and row[1] - row[3] < waiting / 20), self.end)
        self.text(self.x(caught_up) + 12, self.y(middle[3]) - 16, f"up to {waiting:,} wait in the log", "waitstext")
        self.text(self.x(caught_up) + 12, self.y(middle[3]) + 4, "arrived", "arrivedtext")
        peak_at, peak = max(((t, arrived) for t, _, arrived in self.rates), key=lambda one: one[1])
        self.text(self.x(peak_at) + 12, self.y_rate(peak) + 12, f"it catches up at {peak:,.0f} a second", "arrivedtext")
        for seconds in range(0, int(self.end) + 1, 10):
            self.text(self.x(seconds), RATE_TOP + RATE_HEIGHT + 20, f"{seconds} s", "faint small", "middle")
        words = f"{sent:,} readings sent and {delivered:,} arrived; while the central side was away up to {waiting:,} waited in the gateway's log"
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t">\n<title id="t">{words}</title>\n<desc>Made by packaging/quickstart.sh --picture FILE</desc>\n<style>{STYLE}</style>\n' +
                "\n".join(self.out) + "\n</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    sys.stdout.write(Picture(*read(sys.argv[1])).draw())
