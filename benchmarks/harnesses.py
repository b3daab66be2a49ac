"""inspect_ai and lm-evaluation-harness, unchanged, against the proxy: `python -m benchmarks.harnesses`.

Makes an environment of its own for the two (about 750 MB, without torch, kept between runs), serves the bundled suite's
recorded models, and lets each harness run a small task of the suite's questions twice: tagged by header and tagged by
key. Every run is adopted twice, once judged by the suite's graders and once by the harness's own log. Checked is that
no call is lost, and that counts, scores and costs are the harness's own. No provider is asked and nothing is spent.

`--keep FOLDER`: where the environment is, and stays; by default a folder of this name in the system's temporary one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.bench import bundled, library
from app.bench.suite import Item, Suite
from app.cli.store import open_database

PACKAGES = ("inspect-ai==0.3.285", "lm-eval[api]==0.4.13", "openai==3.*")
"""lm-eval without its `hf` extra needs no torch; the chat API is asked without a tokenizer."""
ROOT = Path(__file__).parent.parent
KEY = "sk-benchmark"
ROUTERS = ("length", "cheapest")
LAST_NUMBER = r"(-?\d+)\D*$"
TASK = "numbers"

INSPECT_TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import pattern
from inspect_ai.solver import generate


@task
def {task}():
    fields = FieldSpec(id="id", input="question", target="answer")
    return Task(dataset=json_dataset({items!r}, fields), solver=generate(), scorer=pattern({regex!r}))
"""
LM_EVAL_TASK = {
    "task": TASK,
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": []},
    "filter_list": [
        {
            "name": "last-number",
            "filter": [{"function": "regex", "regex_pattern": LAST_NUMBER}, {"function": "take_first"}],
        },
        {"name": "whole-reply", "filter": [{"function": "take_first"}]},
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
SCORER = "exact_match,last-number"


@dataclass
class Checks:
    """What was held against what."""

    failed: int = 0

    def equal(self, what: str, ours: Any, theirs: Any) -> None:
        same = bool(np.isclose(ours, theirs, rtol=1e-9, atol=0)) if isinstance(ours, float) else ours == theirs
        self.failed += not same
        print(f"  {'✓' if same else '✗'} {what}: {_short(ours)}{'' if same else f', not {_short(theirs)}'}")


@dataclass(frozen=True)
class Ran:
    """What a harness says of its run, by router."""

    logs: Path
    accuracy: dict[str, float] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    """USD, where the harness's log holds the costs the proxy told it."""


def _short(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def environment(folder: Path) -> Path:
    """The folder with the harnesses' programs, installed where they are not."""
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    uv = shutil.which("uv") or next((str(path) for path in ROOT.glob(".uv/bin/uv")), None)
    if uv is None:
        raise SystemExit("uv is needed to make the harnesses' environment: `make install` brings one")
    if not (programs / "python").exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(programs / "python"), *PACKAGES]
    subprocess.run(install, check=True)
    found = subprocess.run(
        [str(programs / "python"), "-c", "import importlib.util as u; print(u.find_spec('torch') is not None)"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    print(f"Harnesses: {', '.join(PACKAGES)}; torch installed: {found.stdout.strip()}")
    return programs


@dataclass(frozen=True)
class Bench:
    """One proxy with one ledger, and the harnesses that ask it."""

    programs: Path
    folder: Path
    url: str
    items: Sequence[Item]

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder / "hf")}
        return {**kept, **offline, "PYTHONPATH": str(ROOT), "HULLSPEED_DATA_DIR": str(self.folder / "data"), **more}

    def command(self, *words: str, **environ: str) -> str:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environ(**environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def write_tasks(self) -> None:
        lines = [{"id": item.id, "question": item.messages[0]["content"], "answer": item.target} for item in self.items]
        data = self.folder / "items.jsonl"
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        source = INSPECT_TASK.format(task=TASK, items=str(data), regex=LAST_NUMBER)
        (self.folder / "inspect_task.py").write_text(source)
        (self.folder / "tasks").mkdir()
        made = {**LM_EVAL_TASK, "dataset_kwargs": {"data_files": {"test": str(data)}}}
        (self.folder / "tasks" / f"{TASK}.yaml").write_text(json.dumps(made))  # JSON is YAML

    def inspect(self, tag: str, *, by_key: bool) -> Ran:
        """inspect_ai finds URL and key of `openai-api/hullspeed/…` in HULLSPEED_BASE_URL and HULLSPEED_API_KEY."""
        logs = self.folder / tag
        names = ",".join(f"openai-api/hullspeed/auto/{router}" for router in ROUTERS)
        words = [str(self.programs / "inspect"), "eval", "inspect_task.py", "--model", names, "--log-dir", str(logs)]
        words += ["--display", "plain"]
        key = f"{KEY}+run={tag}" if by_key else KEY
        if not by_key:
            words += ["--extra-headers", json.dumps({"x-hullspeed-run": tag})]
        self.command(*words, HULLSPEED_BASE_URL=f"{self.url}/v1", HULLSPEED_API_KEY=key)
        ran = Ran(logs)
        for path in logs.glob("*.eval"):
            log = json.loads(self.command(str(self.programs / "inspect"), "log", "dump", str(path)))
            router = log["eval"]["model"].rpartition("/")[2]
            calls = [
                event["call"] for sample in log["samples"] for event in sample["events"] if event["event"] == "model"
            ]
            ran.accuracy[router] = log["results"]["scores"][0]["metrics"]["accuracy"]["value"]
            ran.samples[router] = log["results"]["completed_samples"]
            ran.cost[router] = sum(call["response"]["usage"]["cost"] for call in calls)
        return ran

    def lm_eval(self, tag: str, *, by_key: bool) -> Ran:
        """lm-eval takes the key from OPENAI_API_KEY; headers of one's own stand in place of all of its own."""
        ran = Ran(self.folder / tag)
        for router in ROUTERS:
            arguments: dict[str, Any] = {
                "model": f"auto/{router}",
                "base_url": f"{self.url}/v1/chat/completions",
                "num_concurrent": 8,
            }
            if not by_key:
                arguments["header"] = {"authorization": f"Bearer {KEY}", "x-hullspeed-run": tag}
            self.command(
                str(self.programs / "lm_eval"), "run", "--model", "local-chat-completions",
                "--model_args", json.dumps(arguments), "--tasks", TASK, "--include_path", "tasks",
                "--apply_chat_template", "--log_samples", "--output_path", str(ran.logs),
                OPENAI_API_KEY=f"{KEY}+run={tag}" if by_key else KEY,
            )  # fmt: skip
        for path in ran.logs.rglob("results_*.json"):
            results = json.loads(path.read_text())
            router = results["model_name"].rpartition("/")[2]
            ran.accuracy[router] = results["results"][TASK][SCORER]
            ran.samples[router] = results["n-samples"][TASK]["effective"]
        return ran

    def adopt(self, tag: str, *words: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(
            self.command(sys.executable, "-m", "app", "bench", "adopt", tag, *words, "--json", "-")
        )
        return report

    def ledger(self, tag: str) -> list[dict[str, Any]]:
        """The calls of a run as the API tells them."""
        reply = httpx.get(
            f"{self.url}/v1/calls",
            params={"run": tag, "limit": 1000},
            headers={"authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=30,
        )
        reply.raise_for_status()
        found: list[dict[str, Any]] = reply.json()["data"]
        return found


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`hullspeed serve --recorded` on a free port."""
    words = [sys.executable, "-m", "app", "serve", "--recorded", bundled.NAME, "--port", "0"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    environ = {**kept, "PYTHONPATH": str(ROOT), "HULLSPEED_DATA_DIR": str(folder / "data"), "HULLSPEED_API_KEY": KEY}
    with subprocess.Popen(words, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"serves on (\S+)/v1", line):
                    break
            else:
                raise SystemExit(f"the proxy did not start:\n{''.join(said)}")
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)


def numbers(suite: Suite, most: int) -> list[Item]:
    """Questions whose answer is a whole number, evenly out of all of them."""
    whole = [item for item in suite.items if item.grader == "number" and re.fullmatch(r"-?\d+", item.target or "")]
    return whole[:: max(1, len(whole) // most)][:most]


def check(bench: Bench, tag: str, ran: Ran, checks: Checks, scorer: Sequence[str]) -> None:
    """Hold a harness's run against the ledger and both adoptions."""
    calls = bench.ledger(tag)
    checks.equal("calls in the ledger", len(calls), sum(ran.samples.values()))
    spent = {router: sum(call["cost_usd"] for call in calls if call["router"] == router) for router in ROUTERS}
    suite = bench.adopt(tag, "--suite", bundled.NAME)
    log = bench.adopt(tag, "--log", str(ran.logs), "--suite", f"{tag}-log", *scorer)
    print(f"  judged by the suite: {suite['headline']}")
    print(f"  judged by the harness ({log['quality_source']}): {log['headline']}")
    for report in (suite, log):
        for note in report["notes"]:
            if "left out" in note:
                checks.equal("nothing is left out", note, None)
    for name, report in (("suite", suite), ("log", log)):
        checks.equal(f"{name}: items", report["n"], len(bench.items))
        for entry in report["routers"]:
            (point,) = entry["points"]
            router = entry["router"]
            _say(name, router, point)
            cost = point["cost_per_1k"] * point["n"] / 1000
            checks.equal(f"{name}: cost of {router} is the ledger's", cost, spent[router])
            if router in ran.cost:
                checks.equal(f"{name}: cost of {router} is the harness's", cost, ran.cost[router])
            if name == "log":
                checks.equal(f"{name}: quality of {router} is the harness's", point["quality"], ran.accuracy[router])
    checks.equal("baselines stand beside the suite's run", suite["baselines"] is not None, True)


def _say(name: str, router: str, point: Mapping[str, Any]) -> None:
    share = ", ".join(f"{model} {part:.0%}" for model, part in point["share"].items())
    print(
        f"    {name:<5} {router:<9} t {point['tradeoff']:g}  quality {point['quality']:.4f}  "
        f"${point['cost_per_1k']:.4f}/1k  p50 {1000 * point['latency']['p50']:.2f} ms  "
        f"overhead {1000 * point['overhead']['p50']:.2f} ms  {share}"
    )


def refused(bench: Bench, checks: Checks) -> None:
    """A tag opens nothing: the key before it must be right."""
    tag = f"wrong-{secrets.token_hex(4)}"
    reply = httpx.post(
        f"{bench.url}/v1/chat/completions",
        json={"model": "auto", "messages": [{"role": "user", "content": "hi"}]},
        headers={"authorization": f"Bearer sk-wrong+run={tag}"},
        trust_env=False,
    )
    print("A wrong key with a tag")
    checks.equal("is refused", reply.status_code, 401)
    checks.equal("leaves no call", len(bench.ledger(tag)), 0)


def main() -> int:
    """Run everything; 1 where something does not agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "hullspeed-harnesses")
    parser.add_argument("--items", type=int, default=40)
    options = parser.parse_args()
    programs = environment(options.keep)
    checks, suite = Checks(), bundled.load()

    async def save(folder: Path) -> None:
        async with open_database(folder / "data") as database:
            await library.save(database, suite)

    with tempfile.TemporaryDirectory(prefix="hsh-") as name:
        folder = Path(name)
        asyncio.run(save(folder))
        with serving(folder) as url:
            bench = Bench(programs, folder, url, numbers(suite, options.items))
            bench.write_tasks()
            print(f"{len(bench.items)} questions, {len(ROUTERS)} routers, proxy on {url}/v1\n")
            for harness, run, scorer in (
                ("inspect_ai", bench.inspect, ()),
                ("lm-eval", bench.lm_eval, ("--scorer", SCORER)),
            ):
                for by_key in (False, True):
                    how = "key" if by_key else "header"
                    print(f"{harness}, tagged by {how}")
                    tag = f"{harness}-by-{how}"
                    check(bench, tag, run(tag, by_key=by_key), checks, scorer)
            refused(bench, checks)
    print(f"\n{'everything agrees' if not checks.failed else f'{checks.failed} checks failed'}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
