"""`hullspeed bench adopt`: another harness's calls to a proxy that serves recorded models, from key to report."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pyarrow.parquet as pq

from tests.cli.program import Program
from tests.cli.test_bench import write_files


def test_calls_tagged_by_key_and_by_header(program: Program, tmp_path: Path) -> None:
    outcomes, items = write_files(tmp_path, limit=24)
    program.run("bench", "import", "outcomes", outcomes, "--items", items, "--name", "s")
    asked = pq.read_table(items).to_pylist()
    lines = []
    with program.serving("--recorded", "s", HULLSPEED_API_KEY="sk-hull") as served:
        with httpx.Client(base_url=f"{served.url}/v1", trust_env=False) as client:
            for number, item in enumerate(asked):
                chat = [{"role": "user", "content": item["input"]}]
                for headers in (
                    {"authorization": "Bearer sk-hull+run=by-key"},
                    {"authorization": "Bearer sk-hull", "x-hullspeed-run": "by-header"},
                ):
                    body = {"model": "auto/cheapest", "messages": chat}
                    reply = client.post("/chat/completions", json=body, headers=headers)
                    assert reply.status_code == 200, reply.text
                lines.append(
                    {
                        "doc_id": number,
                        "target": item["target"],
                        "arguments": {"gen_args_0": {"arg_0": json.dumps(chat)}},
                        "resps": [["x"]],
                        "filter": "none",
                        "metrics": ["acc"],
                        "acc": 1.0,
                    }
                )
            # Rows come to Postgres a moment after their replies; who asks the proxy for calls is given all of them.
            assert len(client.get("/calls", params={"run": "by-key"}, headers=headers).json()["data"]) == 24
        # Adopted while the proxy goes on serving.
        key = program.run("bench", "adopt", "by-key", "--suite", "s", "--json", "adopted.json", "-o", "adopted.html")
        assert "of `by-key`: 24 of 24 calls are in it." in key.stderr
        assert "cheapest" in key.stdout
    header = json.loads(program.run("bench", "adopt", "by-header", "--suite", "s", "--json", "-").stdout)
    adopted = json.loads((tmp_path / "adopted.json").read_bytes())
    for report in (adopted, header):
        assert (report["n"], report["quality_source"], report["upstream"]) == (24, "recorded", "recorded")
        assert report["baselines"]["cheapest"]["quality"] == report["routers"][0]["points"][0]["quality"]
    assert "cheapest" in (tmp_path / "adopted.html").read_text()
    compared = json.loads(program.run("bench", "compare", adopted["run"], header["run"], "--json").stdout)
    assert [change["difference"]["value"] for change in compared["aiq"]] == [0.0]
    (tmp_path / "samples_t_2026.jsonl").write_text("\n".join(map(json.dumps, lines)))
    log = program.run("bench", "adopt", "by-key", "--log", "samples_t_2026.jsonl", "--json", "-")
    report = json.loads(log.stdout)
    assert (report["suite"], report["quality_source"], report["n"]) == ("t", "harness:acc", 24)
    assert report["routers"][0]["points"][0]["quality"] == 1.0
    assert "no call is tagged as run 'nope'" in program.fails("bench", "adopt", "nope", "--suite", "s", code=1)
