"""What was measured, kept raw, and what is said of it: medians, ratios, tables, and the verdict on the budgets."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from process import Sample


@dataclass
class Figures:
    """All samples of a run, by what was measured, and the budgets that were judged."""

    rows: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=dict)
    notes: dict[str, object] = field(default_factory=dict)
    budgets: list[tuple[str, str, str, bool | str | None]] = field(default_factory=list)

    def add(self, what: str, tool: str, sample: Sample, **extra: float) -> None:
        """Keeps a sample."""
        self.rows.setdefault((what, tool), []).append({**sample.figures(), **extra})

    def has(self, what: str, tool: str) -> bool:
        return (what, tool) in self.rows

    def median(self, what: str, tool: str, key: str = "wall") -> float:
        """Returns the median of a figure; not a number where it was not measured."""
        samples = self.rows.get((what, tool), [])
        return statistics.median(sample[key] for sample in samples) if samples else math.nan

    def ratio(self, what: str, tool: str, other: str, key: str = "wall") -> float:
        """Returns how many times as long `other` takes as `tool`.

        Samples that were taken one after the other are compared with each other, because the machine is faster at one
        time than at another; where there are not as many of both, the medians are.
        """
        ours, theirs = self.rows.get((what, tool), []), self.rows.get((what, other), [])
        if not ours or not theirs:
            return math.nan
        if len(ours) == len(theirs):
            return statistics.median(b[key] / a[key] for a, b in zip(ours, theirs) if a[key] > 0)
        return self.median(what, other, key) / self.median(what, tool, key)

    def judge(self, what: str, budget: str, found: str, is_met: bool | str | None) -> None:
        """Notes a budget and whether it is met: `None` where it was not measured in this run, and a text where another
        measurement of the same run shows that no tool can meet it here."""
        self.budgets.append((what, budget, found, is_met))

    def to_json(self, machine: dict[str, object]) -> str:
        """Returns everything."""
        rows = [{"what": what, "tool": tool, "samples": samples} for (what, tool), samples in self.rows.items()]
        budgets = [{"what": what, "budget": budget, "found": found, "met": met} for what, budget, found, met in self.budgets]
        return json.dumps({"version": 1, "machine": machine, "rows": rows, "notes": self.notes, "budgets": budgets}, indent=1) + "\n"

    def tables(self) -> str:
        """Returns a table for each thing that was measured, in Markdown."""
        groups: dict[str, list[str]] = {}
        for what, tool in self.rows:
            groups.setdefault(what, []).append(tool)
        parts = []
        for what, tools in groups.items():
            reference = "provision" if "provision" in tools else tools[0]
            lines = [f"| {what} | runs | wall | against {reference} | CPU here | CPU of the hosts | largest process | processes started |",
                     "|---|--:|--:|--:|--:|--:|--:|--:|"]
            for tool in tools:
                samples = self.rows[(what, tool)]
                against = "" if tool == reference else f"{self.ratio(what, reference, tool):.3g} ×"
                lines.append(f"| {tool} | {len(samples)} | {seconds(self.median(what, tool))} | {against} | "
                             f"{seconds(self.median(what, tool, 'cpu'))} | {seconds(self.median(what, tool, 'hosts'))} | {self.median(what, tool, 'rss_kib') / 1024:.0f} MB | "
                             f"{self.median(what, tool, 'forks'):.0f} |")
            parts.append("\n".join(lines))
        return "\n\n".join(parts)

    def verdict_table(self) -> str:
        """Returns the budgets in Markdown."""
        words = {True: "met", False: "**not met**", None: "not measured in this run"}
        lines = ["| what | budget | found | |", "|---|---|---|---|"]
        return "\n".join([*lines, *(f"| {what} | {budget} | {found} | {met if isinstance(met, str) else words[met]} |"
                                   for what, budget, found, met in self.budgets)])

    def verdict(self) -> tuple[str, bool]:
        """Returns one line on the budgets, and whether all that were measured are met."""
        measured = [(what, met) for what, _, _, met in self.budgets if isinstance(met, bool)]
        beyond = sum(isinstance(met, str) for _, _, _, met in self.budgets)
        missed = [what for what, met in measured if not met]
        rest = f"; {beyond} out of reach here, as the table explains" if beyond else ""
        if missed:
            return f"verdict: {len(measured) - len(missed)} of {len(measured)} budgets are met{rest}; not met: {'; '.join(missed)}", False
        return f"verdict: all {len(measured)} budgets that can be met here are met{rest}", True


def seconds(value: float) -> str:
    """Returns a time with three digits that count."""
    if math.isnan(value):
        return "–"
    if value >= 100:
        return f"{value:.0f} s"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"


def machine(repository: Path) -> dict[str, object]:
    """Returns what the figures were taken on."""
    def said(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
        return done.stdout.strip()
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024 // 1024
    commit = said("git", "rev-parse", "--short", "HEAD")
    if said("git", "status", "--porcelain", "--untracked-files=no"):
        commit += ", changed since"
    return {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "processor": model, "memory_gib": memory,
            "kernel": platform.release(), "commit": commit, "rustc": said("rustc", "--version"),
            "openssh": subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.strip()}
