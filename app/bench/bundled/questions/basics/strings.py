"""Work on letters and words; harder with longer texts."""

from __future__ import annotations

from random import Random

from app.bench.bundled.questions.base import Maker, Question, distinct, misspelt, scaled, slips

WORDS = (
    "lamp", "river", "stone", "garden", "window", "pepper", "lantern", "blanket", "mountain", "notebook", "umbrella",
    "telescope", "crocodile", "landscape", "strawberry", "helicopter", "playground", "watermelon", "imagination",
    "temperature", "photography", "grasshopper", "refrigerator", "championship", "neighborhood", "accidentally",
    "extraordinary", "thunderstorm", "caterpillar", "orchestra", "harbour", "saddle", "copper", "velvet", "puzzle",
    "anchor", "meadow", "barrel", "needle", "summit", "cobbler", "glacier", "mustard", "compass", "bicycle",
)  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def _text(rng: Random, level: float, low: int, high: int) -> str:
    """One word or several run together, about as long as the level asks."""
    length = scaled(level, low, high)
    text = ""
    while len(text) < length:
        text += rng.choice(WORDS)
    return text[: max(length, 4)]


def reversing(rng: Random, level: float) -> Question:
    text = _text(rng, level, 4, 24)
    prompt = rng.choice(
        (
            f'Spell "{text}" backwards.',
            f"Reverse the letters of {text}.",
            f"Read {text} from right to left: what do you get?",
            f"What is {text} with its letters in the opposite order?",
        )
    )
    return Question(prompt, text[::-1], "answer", misspelt(rng, text[::-1]))


def counting(rng: Random, level: float) -> Question:
    words = rng.sample(WORDS, scaled(level, 1, 7))
    phrase = " ".join(words)
    letter = rng.choice([sign for sign in phrase if sign != " "])
    prompt = rng.choice(
        (
            f'How many times does the letter "{letter}" occur in "{phrase}"?',
            f"Count the letter {letter} in: {phrase}",
            f'Go through "{phrase}" and say how often {letter} stands in it.',
        )
    )
    count = phrase.count(letter)
    return Question(prompt, str(count), "number", slips(rng, count, count + 1, max(0, count - 1)))


def picking(rng: Random, level: float) -> Question:
    text = _text(rng, level, 5, 20)
    place = rng.randrange(min(len(text), scaled(level, 3, 10)))
    backwards = level > 0.5 and rng.random() < 0.5
    letter = text[-1 - place] if backwards else text[place]
    where = f"{ORDINALS[place]} letter" + (" from the end" if backwards else "")
    prompt = rng.choice(
        (
            f'Which is the {where} of "{text}"?',
            f"Name the {where} of the word {text}.",
            f"Take {text}. What is its {where}?",
        )
    )
    return Question(prompt, letter, "answer", distinct(rng.sample(text, len(text)), letter))


def thinning(rng: Random, level: float) -> Question:
    text = _text(rng, level, 5, 26)
    target = "".join(sign for sign in text if sign not in "aeiou")
    prompt = rng.choice(
        (
            f'Remove all vowels (a, e, i, o, u) from "{text}".',
            f"Write {text} without the letters a, e, i, o and u.",
            f"Strip every vowel out of {text}. What is left?",
        )
    )
    return Question(prompt, target, "answer", misspelt(rng, target))


def sorting(rng: Random, level: float) -> Question:
    text = _text(rng, level, 4, 16)
    target = "".join(sorted(text))
    prompt = rng.choice(
        (
            f'Put the letters of "{text}" in alphabetical order, repeats included.',
            f"Sort the letters of {text} from a to z, keeping repeats.",
            f"Which text results if the letters of {text} are arranged alphabetically?",
        )
    )
    return Question(prompt, target, "answer", misspelt(rng, target))


def initials(rng: Random, level: float) -> Question:
    words = rng.sample(WORDS, scaled(level, 3, 10))
    last = level > 0.6
    target = "".join(word[-1 if last else 0] for word in words)
    which = "last" if last else "first"
    prompt = rng.choice(
        (
            f"Join the {which} letters of these words: {', '.join(words)}.",
            f'Take the {which} letter of each word in "{" ".join(words)}" and write them as one word.',
            f"Which string do the {which} letters of {' / '.join(words)} form?",
        )
    )
    return Question(prompt, target, "answer", misspelt(rng, target))


MAKERS: tuple[Maker, ...] = (reversing, counting, picking, thinning, sorting, initials)
