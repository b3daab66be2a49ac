"""Second solutions, from the prompt alone and by another way than the maker's: tables, stories, logic, JSON."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.bundled.counting import clues_of, names_in
from tests.bench.bundled.moving import found, numbers


def database(prompt: str) -> sqlite3.Connection:
    """The tables of the prompt."""
    tables = sqlite3.connect(":memory:")
    for name, columns, rows in re.findall(r"^(\w+):\n([\w,]+)\n((?:.*,.*\n?)+)", prompt, re.MULTILINE):
        quoted = ", ".join(f'"{column}"' for column in columns.split(","))
        tables.execute(f"CREATE TABLE {name} ({quoted})")
        cells = [[int(cell) if cell.isdigit() else cell for cell in row.split(",")] for row in rows.splitlines()]
        tables.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(cells[0]))})", cells)
    return tables


def asked_of(prompt: str) -> tuple[sqlite3.Connection, str]:
    tables, _, question = prompt.partition("\n\n")
    return database(tables), question


def joined(prompt: str) -> str:
    tables, question = asked_of(prompt)
    kind = found(r"of kind (\w+)", question)[1]
    city = match[1] if (match := re.search(r"do not live in (\w+)", question)) else None
    bulk = int(match[1]) if (match := re.search(r"order of (\d) pieces", question)) else 1000
    sql = "SELECT SUM(pieces * (price - CASE WHEN pieces >= ? THEN 2 ELSE 0 END)) FROM orders NATURAL JOIN products"
    if city is None:
        return str(tables.execute(f"{sql} WHERE kind = ?", (bulk, kind)).fetchone()[0])
    sql += " NATURAL JOIN customers WHERE kind = ? AND city <> ?"
    return str(tables.execute(sql, (bulk, kind, city)).fetchone()[0])


def ranked(prompt: str) -> str:
    tables, question = asked_of(prompt)
    counts = "fouls < 3" if "give no points" in question else "1"
    tables.execute("CREATE TABLE players (player)")
    players = found(r"Players: (.*?);", question)[1].split(", ")
    tables.executemany("INSERT INTO players VALUES (?)", [(name,) for name in players])
    rows = tables.execute(
        f"SELECT player FROM players LEFT JOIN games USING (player) GROUP BY player "
        f"ORDER BY COALESCE(SUM(points * ({counts})), 0) DESC, COALESCE(SUM(fouls), 0), player LIMIT ?",
        (int(found(r"first (\d)", question)[1]),),
    )
    return "-".join(name for (name,) in rows)


def grouped(prompt: str) -> str:
    tables, question = asked_of(prompt)
    where = "valid = 'yes'" if "valid = yes" in question else "1"
    least = int(found(r"at least (\d)", question)[1])
    rows = f"SELECT *, ROW_NUMBER() OVER (PARTITION BY city ORDER BY value) place FROM readings WHERE {where}"
    sizes = f"SELECT city, COUNT(*) many, MAX(value) - MIN(value) spread FROM ({rows}) GROUP BY city"
    spread = f"SELECT SUM(spread) FROM ({sizes}) WHERE many >= ?"
    middle = f"SELECT SUM(value) FROM ({rows}) JOIN ({sizes}) USING (city) WHERE many >= ? AND place = (many + 1) / 2"
    return str(tables.execute(middle if "lower median" in question else spread, (least,)).fetchone()[0])


def zones(prompt: str) -> str:
    """With times that know their zone."""
    clocks = {
        city: timezone((1 if sign == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes)))
        for city, sign, hours, minutes in re.findall(r"(\w+) UTC([+−])(\d\d):(\d\d)", prompt)
    }
    start, when, journey, end = found(
        r"You leave (\w+) on (.*?) local time, (.*)\. What are date and time in (\w+)", prompt
    ).groups()
    time = datetime.fromisoformat(when).replace(tzinfo=clocks[start])
    for hours, minutes in re.findall(r"(\d+) h (\d+) min", journey):
        time += timedelta(hours=int(hours), minutes=int(minutes))
    return time.astimezone(clocks[end]).strftime("%Y-%m-%d %H:%M")


def workdays(prompt: str) -> str:
    """By numpy's calendar of business days, every second weekday being a holiday."""
    weekday, start, length = found(r"starts on (\w+), (\S+), and takes (\d+)", prompt).groups()
    first = date.fromisoformat(start)
    assert f"{first:%A}" == weekday
    off = re.findall(r"\d{4}-\d\d-\d\d", prompt.partition("so are")[2])
    if every := re.search(r"every second (\w+day)", prompt):
        days = [first + timedelta(days=number) for number in range(400)]
        off += [str(day) for day in days if f"{day:%A}" == every[1]][1::2]
    return str(np.busday_offset(first, int(length) - 1, holidays=off))


def market(prompt: str) -> str:
    """Two accounts, booked by the form of each sentence."""
    name, stock, good, cash = found(r"^(\w+) comes to the market with (\d+) (\w+) and (\d+) crowns", prompt).groups()
    pieces, money = Fraction(stock), Fraction(cash)
    story = prompt.partition(" How many crowns")[0]
    for sentence in re.findall(r"[^.]+\.", story)[1:]:
        figures = numbers(sentence)
        own = good in sentence or re.search(rf"{name} (pays|lends)", sentence)
        if not own or "Last week" in sentence:
            continue
        if re.search(rf"{name} (sells|buys) \d", sentence):
            sign = 1 if "buys" in sentence else -1
            pieces += sign * figures[0]
            money -= sign * figures[0] * figures[1]
        elif "pays" in sentence:
            money -= figures[0]
        elif "A third" in sentence:
            pieces *= Fraction(2, 3)
        elif "takes 5" in sentence:
            pieces -= 5
            money += 5 * figures[1] - figures[2]
        elif "back" in sentence:
            pieces += figures[0]
            money -= figures[0] * figures[1]
        elif "a quarter" in sentence:
            money *= Fraction(3, 4)
        elif "sells half" in sentence:
            money += (pieces - pieces // 2) * figures[0]
            pieces = Fraction(pieces // 2)
        else:
            assert "refuses" in sentence, sentence
    assert pieces.denominator == money.denominator == 1
    return str([int(money), int(pieces)])


def ages(prompt: str) -> str:
    """Solved as linear equations."""
    clues, asked = found(r"^(.*\.) How old (.*)$", prompt).groups()
    rows: list[tuple[dict[str, int], int]] = []
    for clue in re.findall(r"[^.]+\.", clues):
        who, (figure, *_) = (
            [name for name in names_in(clue) if name not in ("In", "Two", "Together", "The")],
            [
                *numbers(clue),
                0,
            ],
        )
        if "years older than three times" in clue:
            rows.append(({who[0]: 1, who[1]: -3}, figure + 2 - 6))
        elif "years older than" in clue:
            rows.append(({who[0]: 1, who[1]: -1}, figure))
        elif "will be twice" in clue:
            rows.append(({who[0]: 1, who[1]: -2}, figure))
        elif "twice as old" in clue:
            rows.append(({who[0]: 1, who[1]: -2}, 0))
        elif "Together" in clue:
            rows.append((dict.fromkeys(who, 1), figure))
        else:
            assert re.search("lives at|cousins|The cat", clue), clue
    names = sorted({name for row, _ in rows for name in row})
    left = np.array([[row.get(name, 0) for name in names] for row, _ in rows])
    assert left.shape == (len(names), len(names))
    solved = np.linalg.solve(left, [right for _, right in rows])
    wanted, later = found(r"will (\w+) be in (\d+)", asked).groups()
    return str(round(float(solved[names.index(wanted)])) + int(later))


def tank(prompt: str) -> str:
    """Minute by minute."""
    size, content = numbers(found(r"tank of \d+ litres holds \d+", prompt)[0])
    end, lost = int(found(r"in the tank at minute (\d+)", prompt)[1]), 0
    flows = re.findall(r"A (pump|drain) \w+ \w+ (\d+) litres a minute from minute (\d+) to minute (\d+)", prompt)
    for minute in range(end):
        for kind, rate, begin, stop in flows:
            if int(begin) <= minute < int(stop):
                content += int(rate) if kind == "pump" else -int(rate)
        lost += max(0, content - size)
        content = min(max(content, 0), size)
    return str([content, lost])


def kinds(prompt: str) -> str:
    """A claim must be so where its contrary is not possible, and cannot be so where it is not possible itself."""
    told, claims = found(r"members\):\n(.*)\nSay of each .*?:\n(.*)$", prompt).groups()
    premises = told.split("\n")
    members = sorted(set(re.findall(r"\b[a-z]+s\b", prompt)) & set(KINDS))
    verdicts = ""
    for claim in clues_of(claims):
        can_be, can_fail = possible([*premises, claim], members), possible([*premises, denied(claim)], members)
        assert can_be or can_fail
        verdicts += "U" if can_be and can_fail else "T" if can_be else "F"
    return verdicts


KINDS = ("wugs", "toves", "blickets", "zorps", "fleeps", "dants", "quills", "morbs")


def denied(claim: str) -> str:
    """The contrary, in the same language and `But not` before what is no longer in it."""
    swaps = (
        (r"^All (\w+) are (\w+)\.", r"Some \1 are not \2."),
        (r"^No (\w+) are (\w+)\.", r"Some \1 are \2."),
        (r"^Some (\w+) are not (\w+)\.", r"All \1 are \2."),
        (r"^Some (\w+) are (\w+)\.", r"No \1 are \2."),
        (r"^(\w+) is one of the", r"\1 is none of the"),
        (r"^(\w+) is none of the", r"\1 is one of the"),
        (r"^All (\w+) that are not (\w+) are (\w+)\.", r"Some \1 are neither \2 nor \3."),
    )
    for old, new in swaps:
        if re.search(old, claim):
            return re.sub(old, new, claim)
    raise AssertionError(claim)


def possible(claims: list[str], members: list[str]) -> bool:
    """Whether some world keeps all claims: everybody in it is tried as every type, one for each that must exist."""
    types = [dict(zip(members, row, strict=True)) for row in product((False, True), repeat=len(members))]
    for claim in claims:
        words = re.findall(r"\b[a-z]+s\b", claim)
        words = [word for word in words if word in members]
        if claim.startswith("No "):
            types = [one for one in types if not (one[words[0]] and one[words[1]])]
        elif claim.startswith("All ") and "that are not" in claim:
            types = [one for one in types if not one[words[0]] or one[words[1]] or one[words[2]]]
        elif claim.startswith("All "):
            types = [one for one in types if not one[words[0]] or one[words[1]]]
    people: dict[str, list[tuple[str, bool]]] = {"": []}
    for number, claim in enumerate(claims):
        words = [word for word in re.findall(r"\b[a-z]+s\b", claim) if word in members]
        if claim.startswith("Some "):
            no = "are not" in claim or "neither" in claim
            people[f"#{number}"] = [(words[0], True), *((word, not no) for word in words[1:])]
        elif " is one of " in claim or " is none of " in claim:
            people.setdefault(claim.split()[0], []).append((words[0], " one " in claim))
    return all(any(all(one[word] == has for word, has in own) for one in types) for own in people.values())


def guests(prompt: str) -> str:
    """Rules as columns of one truth table."""
    names = names_in(found(r"^(.*?) are invited", prompt)[1])
    coming = dict(zip(names, np.array(list(product((False, True), repeat=len(names)))).T, strict=True))
    fits = np.ones(2 ** len(names), dtype=bool)
    for rule in re.findall(r"[^.]+\.", found(r"are invited\. (.*?) Say of each", prompt)[1]):
        fits &= rule_holds(rule, [coming[name] for name in names_in(rule) if name in coming])
    assert fits.any()
    shares = [coming[name][fits].mean() for name in sorted(names)]
    return "".join("T" if share == 1 else "F" if share == 0 else "U" for share in shares)


def rule_holds(rule: str, who: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    if "if and only if" in rule:
        return np.equal(who[0], who[1] | who[2])
    if "At least two" in rule:
        return np.greater_equal(sum(one.astype(int) for one in who), 2)
    if "both come" in rule:
        return who[0] | (who[1] & who[2])
    if "Exactly one" in rule:
        return who[0] ^ who[1]
    if "or both" in rule:
        return who[0] | who[1]
    return ~who[0] | (~who[1] if "does not come" in rule else who[1])


def relations(prompt: str) -> str:
    """By matrices: who trusts whom, in how many ways over somebody, and so on."""
    told, claims = found(r"nobody else: (.*?)\. Nobody trusts themselves.*?:\n(.*)$", prompt).groups()
    lists = dict(line.split(": ") for line in told.split("; "))
    names = list(lists)
    trusts = np.array([[other in names_in(lists[one]) for other in names] for one in names])
    return "".join("T" if quantified(claim, trusts, names) else "F" for claim in clues_of(claims))


def quantified(claim: str, trusts: NDArray[np.bool_], names: list[str]) -> bool:
    count, apart = len(names), ~np.eye(len(names), dtype=bool)
    given, taken = trusts.sum(axis=1), trusts.sum(axis=0)
    who = [names.index(name) for name in names_in(claim) if name in names]
    if claim.startswith("Everybody trusts somebody"):
        return bool((given > 0).all())
    if "trusted by all others" in claim:
        return bool((taken == count - 1).any())
    if claim.startswith("Everybody who trusts"):
        a, b, _ = who
        return not any(trusts[one, a] and not trusts[one, b] for one in range(count) if one != b)
    if claim.startswith("Everybody whom"):
        return bool((~trusts[who[0]] | trusts[:, who[0]]).all())
    if "exactly the same people" in claim:
        return len(np.unique(trusts, axis=0)) == count
    if "trust each other" in claim:
        return bool((trusts & trusts.T).any())
    if claim.startswith("Whoever trusts at least two"):
        return bool((taken[given >= 2] >= 2).all())
    if "trusts nobody who trusts them" in claim:
        return bool((~(trusts & trusts.T).any(axis=1)).any())
    if "a third whom both trust" in claim:
        return bool(((trusts.astype(int) @ trusts.T.astype(int))[apart] > 0).all())
    if "neither of whom" in claim:
        return bool((~trusts & ~trusts.T & apart).any())
    if claim.startswith("For any three"):
        return bool((((trusts.astype(int) @ trusts.astype(int)) == 0) | trusts | ~apart).all())
    assert claim.startswith("Exactly two people are trusted by more")
    return bool((taken > taken[who[0]]).sum() == 2)


def regrouped(prompt: str) -> str:
    records = json.loads(prompt.partition("\n")[0])
    if "not active" in prompt:
        records = [record for record in records if record["active"]]
    # Two stable sorts instead of one by two keys.
    records.sort(key=lambda record: record["name"])
    records.sort(key=lambda record: record["points"], reverse=True)
    groups: dict[str, Any] = {}
    for record in records:
        own = groups.setdefault(record["crew"], {"best": record["name"], "names": [], "total": 0})
        own["names"].append(record["name"])
        own["total"] += record["points"]
    return json.dumps(groups if "`best`" in prompt else {crew: own["names"] for crew, own in groups.items()})


def edited(prompt: str) -> str:
    """On pairs of a key and the JSON of its value."""
    pairs = {key: json.dumps(value) for key, value in json.loads(prompt.partition("\n")[0]).items()}
    for edit in clues_of(prompt):
        keys, figures = re.findall(r"`(\w+)`", edit), numbers(edit)
        key = keys[0]
        if edit.startswith("Set"):
            pairs[key] = str(figures[0])
        elif edit.startswith("Delete"):
            pairs.pop(key)
        elif edit.startswith("Rename"):
            pairs[keys[1]] = pairs.pop(key)
        elif edit.startswith("Append"):
            pairs[key] = f"{pairs[key][:-1]}, {figures[0]}]"
        elif edit.startswith("Reverse"):
            pairs[key] = str(numbers(pairs[key])[:0:-1])
        elif edit.startswith("Replace the number"):
            number = int(pairs[key])
            pairs[key] = json.dumps({"x": number, "y": number - number // 7 * 7})
        elif edit.startswith("Exchange"):
            pairs |= {key: pairs[keys[1]], keys[1]: pairs[key]}
        else:
            assert edit.startswith("Replace the object")
            x, y = numbers(pairs[key])
            pairs[key] = str([x + y, x])
    return f"{{{', '.join(f'{json.dumps(key)}: {value}' for key, value in pairs.items())}}}"


def flattened(prompt: str) -> str:
    """Layer by layer."""
    layer: dict[tuple[str, ...], Any] = {(key,): value for key, value in json.loads(prompt.partition("\n")[0]).items()}
    flat: dict[str, Any] = {}
    while layer:
        inner: dict[tuple[str, ...], Any] = {}
        for path, value in layer.items():
            if isinstance(value, dict):
                inner |= {(*path, key): deeper for key, deeper in value.items()}
            elif value is not None:
                twice = isinstance(value, int) and len(path) % 2 == 0 and "are doubled" in prompt
                flat["/".join(path)] = value + value if twice else value
        layer = inner
    return json.dumps(flat)


SOLVERS: dict[str, Callable[[str], str]] = {
    "joined": joined,
    "ranked": ranked,
    "grouped": grouped,
    "zones": zones,
    "workdays": workdays,
    "market": market,
    "ages": ages,
    "tank": tank,
    "kinds": kinds,
    "guests": guests,
    "relations": relations,
    "regrouped": regrouped,
    "edited": edited,
    "flattened": flattened,
}
