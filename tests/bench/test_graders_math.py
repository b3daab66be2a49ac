"""The grader `math`: formulas that are the same in other words, those that only look so, and nothing that stalls."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bench.graders import Judgement, agreement, check_grader, check_target, grader_for, judged
from app.bench.graders.maths import UNSETTLED
from app.bench.graders.worker import MIB, Unsettled, Worker
from app.bench.importers import import_outcomes
from app.bench.suite import Item, Suite
from tests.bench.test_graders import SHARED

RIGHT = [
    ("\\boxed{\\frac{1}{2}}", "0.5"),
    ("\\frac12", "1/2"),
    ("-\\frac{3}{4}", "\\frac{-3}{4}"),
    ("\\boxed{1\\frac{1}{2}}", "3/2"),
    ("1 1/2", "1.5"),
    ("½", "0.5"),
    ("6.02 \\times 10^{23}", "602000000000000000000000"),
    ("10^{-3}", "0.001"),
    ("1,234", "1234"),
    ("1{,}234{,}567", "1234567"),
    ("$\\frac{\\sqrt{2}}{2}$", "\\frac{1}{\\sqrt2}"),
    ("The answer is $2\\sqrt{3}$.", "\\sqrt{12}"),
    ("\\sqrt[3]{27}", "3"),
    ("sqrt(8)", "2√2"),
    ("10^{100}+1", "1+10^{100}"),
    ("π/6", "\\frac{\\pi}{6}"),
    ("\\tan^{-1}(1)", "\\frac{\\pi}{4}"),
    ("\\log_2 8", "3"),
    ("\\log 100", "2"),
    ("\\binom{5}{2}", "10"),
    ("5!", "120"),
    ("3 - 2i", "-2i+3"),
    ("|-3|", "3"),
    ("x^2+2x+1", "(x+1)^2"),
    ("\\sin^2 x+\\cos^2 x", "1"),
    ("\\frac{1}{x+1}-\\frac1{x-1}", "\\frac{-2}{x^2-1}"),
    ("\\frac{x^2-1}{x-1}", "x+1"),
    ("|x|", "\\sqrt{x^2}"),
    ("2\\theta r", "2r\\theta"),
    ("x²", "x \\cdot x"),
    ("x_1 + x_{2}", "x_2+x_1"),
    ("y = 4-2x", "2x+y=4"),
    ("4x + 2y = 8", "2x+y=4"),
    ("f(x)=2x+1", "2x+1"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("2+3=5", "5"),
    ("x = \\frac{10}{4} = 2.5", "2.5"),
    ("(1, 2]", "(1,2]"),
    ("\\left(\\frac{3}{5},\\frac{8}{3}\\right]", "(0.6, 8/3]"),
    ("(3, \\infty)", "x > 3"),
    ("x \\ge 2", "[2,\\infty)"),
    ("2 \\le x", "x \\geq 2"),
    ("-1 < x \\leq 2", "(-1, 2]"),
    ("2 >= x > -1", "(-1, 2]"),
    ("x \\in (0,1)", "(0,1)"),
    ("(-\\infty,1)\\cup(2,\\infty)", "(2,\\infty)\\cup(-\\infty, 1)"),
    ("x = 1 or x = 2", "\\{1,2\\}"),
    ("$2$ and $1$", "1, 2"),
    ("1, -2", "-2,1"),
    ("\\{5\\}", "5"),
    ("1 \\pm \\sqrt{2}", "1+\\sqrt2, 1-\\sqrt2"),
    ("x = 1, y = 2", "(1,2)"),
    ("(1234, 5)", "(1234,5)"),
    ("(1,234)", "(1, 234)"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1 & 2\\\\ 3 & \\frac{8}{2}\\end{pmatrix}"),
    ("50\\%", "0.5"),
    ("50%", "50"),
    ("12.5 percent", "12.5\\%"),
    ("5\\text{ cm}^2", "5"),
    ("5 cm", "5"),
    ("5", "5 m"),
    ("30\\text{ km}/\\text{h}", "30"),
    ("1152 cups of flour", "1152"),
    ("\\frac{7}{2} \\text{ hours}", "3.5"),
    ("90^\\circ", "90"),
    ("90^{\\circ}", "90°"),
    ("\\$1,234.50", "1234.5"),
    ("\\text{Area} = 5", "5"),
    ("So we get\n\\[ \\boxed{x+1} \\]", "1+x"),
    ("Hence the length, which was asked for, is $\\frac{1}{2}$.", "1/2"),
    ('{"answer": "\\\\frac{1}{2}"}', "0.5"),
    ("7", "\\boxed{7}"),
    ("the answer is 5 because it is", "5"),
    ("Paris", "Paris"),
    ("14:35", "14:35"),
    ("\\text{(B)}", "(B)"),
    ("221_3", "221"),
    ("2√5", "\\sqrt{20}"),
    ("(1+sqrt(5))/2", "\\frac{\\sqrt5+1}{2}"),
    ("2-2+4=4", "4"),
    ("∞", "\\infty"),
    ("0.333333", "1/3"),
    ("$500", "500"),
    ("2π", "2\\pi"),
]

WRONG = [
    ("12345678", "12345679"),
    ("10^{200}", "10^{200}+1"),
    ("e^{\\pi\\sqrt{163}}", "262537412640768744"),
    ("(1,2)", "[1,2]"),
    ("(1,2]", "(1,2)"),
    ("(1,2)", "(2,1)"),
    ("1,2,3", "1,2"),
    ("1,1", "1,2"),
    ("x", "y"),
    ("x+1", "x"),
    ("12-10d", "12"),
    ("2", "-2"),
    ("2\\sqrt{3}", "2"),
    ("\\sqrt{x^2}", "x"),
    ("x>3", "x\\ge 3"),
    ("x>3", "x<3"),
    ("y=2x", "y=3x"),
    ("y=5", "x=5"),
    ("x^2=4", "x=2"),
    ("5\\%", "6"),
    ("\\frac{1}{2}", "2"),
    ("(-\\infty, 3)", "(3, \\infty)"),
    ("\\{1,2\\}", "(2,1)"),
    ("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}2&1\\end{pmatrix}"),
    ("1/0", "1"),
    ("1/(x-x)", "0"),
    ("cat", "act"),
    ("", "1"),
    ("", ""),
    ("12 - 10d", "12"),
    ("32 - 16√6", "32"),
    ("12 or 13", "12"),
    ("4cos^2 x", "4"),
    ("\\frac{1}{0}", "1"),
    ("\\frac{1}{0}", "\\infty"),
]


def math(reply: str, target: str) -> Judgement:
    grader = grader_for("math")
    judgement = grader.grade(Item(id="q", category="c", messages=[], target=target), reply)
    assert isinstance(judgement, Judgement)
    return judgement


@pytest.mark.parametrize(("reply", "target"), RIGHT)
def test_right_replies(reply: str, target: str) -> None:
    assert math(reply, target).value == 1.0


@pytest.mark.parametrize(("reply", "target"), WRONG)
def test_wrong_replies(reply: str, target: str) -> None:
    assert math(reply, target) == Judgement(0.0)


async def test_it_is_a_grader_like_the_others() -> None:
    check_grader("math")
    check_target("math", "x^2")
    item = Item(id="q", category="c", messages=[], target="(x+1)^2")
    assert await judged(grader_for("math"), item, "x^2+2x+1") == Judgement(1.0)


def test_what_cannot_be_settled_is_said() -> None:
    assert math("\\boxed{9^{9^{9^9}}}", "1") == Judgement(0.0, comment=UNSETTLED)
    assert math("\\boxed{x^2+2x+1}", "(x+1)^2") == Judgement(1.0), "and the next one is settled"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker(cpu_seconds=1, memory=512 * MIB)
    yield worker
    worker.close()


@pytest.mark.parametrize("text", ["(" * 5000 + "1" + ")" * 5000, "{" * 10_000, "\\binom{10^8}{5*10^7}", "9**9**9**9"])
def test_nothing_stalls_or_ends_the_worker_for_good(worker: Worker, text: str) -> None:
    with contextlib.suppress(Unsettled):
        assert worker.ask("math", text, "x+\\sqrt{2}") is not True
    assert worker.ask("math", "\\frac12", "0.5") is True


SLOW_TO_IMPORT = """
import time

begun = time.process_time()
while time.process_time() - begun < 2.2:
    pass


class LatexExtractionConfig:
    def __init__(self, **options):
        pass


def parse(text, config, **options):
    return [text]


def verify(wanted, found, **options):
    return wanted == found
"""


def test_importing_the_library_takes_nothing_of_a_questions_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "math_verify.py").write_text(SLOW_TO_IMPORT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = Worker(cpu_seconds=1)
    assert worker.ask("math", "1", "1") is True
    worker.close()


def test_the_clock_is_a_limit_of_its_own_and_the_libraries_are_loaded_once() -> None:
    worker = Worker(seconds=0.5, cpu_seconds=600)
    assert worker.ask("math", "1", "1") is True
    assert worker._process is not None
    loaded = psutil.Process(worker._process.pid)
    [judge] = loaded.children()
    with pytest.raises(Unsettled):
        worker.ask("math", "\\sum_{n=1}^{10^9} \\frac{1}{n^2}", "1")
    assert not judge.is_running()
    assert worker.ask("math", "1", "2") is False
    assert worker._process.pid == loaded.pid
    worker.close()


def test_a_question_ends_with_whoever_asked() -> None:
    asking = (
        "from app.bench.graders.worker import Worker; worker = Worker(seconds=600, cpu_seconds=600)\n"
        "print(worker.ask('math', '1', '1'), worker._process.pid, flush=True)\n"
        "worker.ask('math', '\\\\sum_{n=1}^{10^9} \\\\frac{1}{n^2}', '1')"
    )
    with subprocess.Popen([sys.executable, "-c", asking], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        verdict, pid = asker.stdout.readline().split()
        assert verdict == "True"
        loaded = psutil.Process(int(pid))
        [judge] = loaded.children()
        idle = judge.cpu_times().user
        while judge.cpu_times().user < idle + 0.1:  # until it is at work
            time.sleep(0.01)
        asker.kill()
    _, alive = psutil.wait_procs([loaded, judge], timeout=60)
    assert alive == []


@pytest.mark.parametrize("form", ["%s", "1+%s", "\\operatorname{%s}", "$1$ %s", "(9)**%s"])
def test_nothing_that_is_written_is_run(worker: Worker, form: str, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    for call in (f"__import__('os').system('touch {planted}')", f"open('{planted}','w')"):
        for answer, target in ((form % call, "1"), ("1", form % call)):
            with contextlib.suppress(Unsettled):
                worker.ask("math", answer, target)
    assert not planted.exists()


def test_the_worker_is_given_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-secret")
    worker = Worker()
    worker.ask("math", "1", "1")
    assert worker._process is not None
    environment = Path(f"/proc/{worker._process.pid}/environ").read_bytes()
    assert b"PATH" in environment
    assert b"planted" not in environment
    worker.close()


PIECES = st.lists(
    st.sampled_from(
        [
            *("1", "23", "0", ".5", "x", "y", "e", "i", "\\pi", "\\infty", "+", "-", "*", "/", "^", "_", "!", "%", "="),
            *("(", ")", "[", "]", "{", "}", "\\{", "\\}", "|", ",", "<", ">", "\\le", "\\pm", "\\cup", "\\in", " "),
            *("\\frac", "\\sqrt", "\\sin", "\\log", "\\ln", "\\binom", "\\text{cm}", "cm", "or", "°", "\\circ", "\\"),
            *(
                "\\begin{pmatrix}",
                "\\end{pmatrix}",
                "&",
                "\\\\",
                "\\left",
                "\\boxed{",
                "$",
                "\ud800",
                "\0",
                "²",
                "٣",
                "√(",
            ),
        ]
    ),
    max_size=12,
).map("".join)


@given(reply=PIECES | st.text(max_size=40), target=PIECES)
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_it(reply: str, target: str) -> None:
    assert math(f"\\boxed{{{reply}}}", target).value in (0.0, 1.0)


@given(st.integers(-(10**9), 10**9), st.integers(2, 10**6))
@settings(max_examples=30, deadline=None)
def test_a_fraction_is_read_in_every_dress(upper: int, lower: int) -> None:
    for text in (f"\\frac{{{upper}}}{{{lower}}}", f"{upper}/{lower}", f"{2 * upper} \\div {2 * lower}"):
        assert math(f"\\boxed{{{text}}}", f"\\dfrac{{{upper}}}{{{lower}}}").value == 1.0
        assert math(f"\\boxed{{{text}}}", f"\\dfrac{{{upper + lower}}}{{{lower}}}").value == 0.0


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_a_polynomial_is_its_factors(roots: list[int]) -> None:
    factors = "".join(f"(x{-root:+d})" for root in roots)
    coefficients = [1]
    for root in roots:
        coefficients = [a - root * b for a, b in zip([*coefficients, 0], [0, *coefficients], strict=True)]
    expanded = "".join(f"{c:+d}x^{{{len(roots) - place}}}" for place, c in enumerate(coefficients))
    assert math(f"\\boxed{{{expanded}}}", factors).value == 1.0
    assert math(f"\\boxed{{{expanded}+1}}", factors).value == 0.0


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the recorded outcomes of the shared folder")
def test_answers_of_real_models_are_graded_as_they_were_recorded() -> None:
    whole = import_outcomes(SHARED / "zeroeval_4sets_8models.parquet", SHARED / "zeroeval_items.parquet", "z")
    recorded = whole.recorded
    assert recorded is not None
    rows = [row for row, item in enumerate(whole.items) if item.category == "math-l5"][:60]
    parts = (
        getattr(recorded, part)[rows] for part in ("quality", "cost", "prompt_tokens", "completion_tokens", "replies")
    )
    suite = Suite("part", tuple(whole.items[row] for row in rows), recorded=type(recorded)(recorded.models, *parts))
    share, apart = agreement(suite, "math")
    # Where they differ the recording has taken the first number of a formula for the answer (12 for 12 - 10d).
    assert share > 0.98
    assert all(one.recorded > one.graded for one in apart)
