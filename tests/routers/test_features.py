"""The embedding against scikit-learn's own, and what is read of odd prompts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from routers import features
from routers.features import COUNTS, HEAD, TAIL, WORD, Embedding, counts, cut, stripped
from tests.routers.toy import WRAPPER, outcomes_once

NOVEL = ("add the moon to python", "Add ADD add apples, apples!", "42 + 7 = ?", "słońce i księżyc", "index_1 moon")


@pytest.fixture(scope="module")
def embedding() -> Embedding:
    return Embedding.fit(outcomes_once().prompts, seed=0)


@pytest.mark.parametrize("dimensions", [8, 128])
def test_it_gives_what_scikit_learn_gives(monkeypatch: pytest.MonkeyPatch, dimensions: int) -> None:
    monkeypatch.setattr(features, "DIMENSIONS", dimensions)
    prompts = outcomes_once().prompts
    fitted = Embedding.fit(prompts, seed=7)
    texts = [stripped(prompt, fitted.wrappers) for prompt in prompts]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=WORD)
    svd = TruncatedSVD(dimensions, random_state=7)
    svd.fit(vectorizer.fit_transform(texts))
    asked = [*texts[:50], *NOVEL]
    expected = svd.transform(vectorizer.transform(asked))
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    unit = np.divide(expected, lengths, out=np.zeros_like(expected), where=lengths > 0)

    served = np.array([fitted.embed(text) for text in asked])

    assert fitted.dimensions == dimensions
    assert np.abs(served[:50]).max() > 0.1
    np.testing.assert_allclose(served, unit, atol=1e-6)


def test_vectors_have_length_one_or_none(embedding: Embedding) -> None:
    assert np.linalg.norm(embedding.embed("add apples")) == pytest.approx(1, abs=1e-6)
    for text in ("", "   ", "完全不同的文字", "zzzz qqqq", "\ud800"):
        assert not embedding.embed(text).any()
        assert embedding.embed(text).shape == (embedding.dimensions,)


def test_a_line_of_many_prompts_is_a_wrapper_and_left_out(embedding: Embedding) -> None:
    assert embedding.wrappers == {WRAPPER}
    assert stripped(f"add apples\n  {WRAPPER} \nmoon", embedding.wrappers) == "add apples\nmoon"


def test_a_prompt_of_nothing_but_wrapping_keeps_it(embedding: Embedding) -> None:
    assert stripped(WRAPPER, embedding.wrappers) == WRAPPER


@pytest.mark.parametrize(
    ("n", "repeated", "expected"), [(20, 4, False), (20, 5, True), (1000, 30, False), (1000, 31, True)]
)
def test_a_wrapper_needs_a_share_and_a_count(n: int, repeated: int, expected: bool) -> None:
    prompts = [f"question {i}" + ("\nthe line" if i < repeated else "") for i in range(n)]
    assert ("the line" in Embedding.fit(prompts, seed=0).wrappers) is expected


def test_a_line_said_often_in_one_prompt_is_no_wrapper() -> None:
    prompts = ["la la\n" * 50, *(f"question {i}" for i in range(30))]
    assert Embedding.fit(prompts, seed=0).wrappers == frozenset()


def test_only_head_and_tail_of_a_huge_prompt_are_read(embedding: Embedding) -> None:
    short = "x" * (HEAD + TAIL)
    assert cut(short) == short
    head, tail = "add apples ".ljust(HEAD, "-"), "moon river".rjust(TAIL, "-")
    huge = head + "python " * 100_000 + tail
    assert cut(huge) == f"{head}\n{tail}"
    np.testing.assert_array_equal(embedding.embed(cut(huge)), embedding.embed("add apples - moon river"))


@pytest.mark.parametrize(
    "prompts", [("",), ("", "?!"), ("same words here",) * 60, ("one",), tuple(map(str, range(60)))]
)
def test_odd_training_prompts_give_an_embedding(prompts: tuple[str, ...]) -> None:
    fitted = Embedding.fit(prompts, seed=0)
    vector = fitted.embed(prompts[0])
    assert vector.shape == (fitted.dimensions,)
    assert np.isfinite(vector).all()


def test_counts_say_how_a_prompt_is_written() -> None:
    row = dict(zip(COUNTS, counts("ab 12\nx = é?", 500).tolist(), strict=True))
    assert row["characters"] == pytest.approx(np.log(501))
    assert row["words"] == pytest.approx(np.log(6))
    assert row["lines"] == pytest.approx(np.log(2))
    assert row["digits"] == pytest.approx(2 / 12)
    assert row["code"] == pytest.approx(1 / 12)
    assert row["questions"] == 1
    assert row["other_scripts"] == pytest.approx(1 / 12)


@pytest.mark.parametrize("text", ["", "\ud800", "文" * 1000])
def test_counts_are_finite_for_any_text(text: str) -> None:
    assert np.isfinite(counts(text, len(text))).all()
