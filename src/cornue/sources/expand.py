"""Fills the slots of question forms, seeded, and keeps the questions whose truth is beyond doubt.

It draws rows and list values, words the question as people would, runs the true query, and refuses ties, empty answers
and long ones. It neither reads nor writes files.
"""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from cornue.records.errors import BadInput
from cornue.records.samples import Message, Prompt, Split
from cornue.records.words import words
from cornue.sources.folding import fold
from cornue.sources.forms import Form, Forms, Slot
from cornue.sources.register import QueryError, Register
from cornue.sources.tables import Cell, Table
from cornue.sources.wording import add_typo, disguise, say_number

SLOT = re.compile(r"\{(?:(?P<view>le|la|de|du|a|en|dans)_)?(?P<name>[a-z_]+?)(?:_(?P<place>\d))?\}")
RANKING = re.compile(r"^SELECT (?:DISTINCT )?.+? (FROM .*) ORDER BY (.+?)( DESC)?(?: LIMIT (\d+))?(?: OFFSET (\d+))?$")
MOST_ROWS, MOST_SECONDS = 60, 30
TRIES, TRIES_PER_PROMPT = 150, 30
ENGLISH_SHARE = 0.25
SHARED_NAMES_HELD_OUT = 4
SOURCE = "register"

Row = dict[str, Cell]
Values = dict[str, str | int]


@dataclass(frozen=True)
class Expander:
    """Forms bound to a table of a register."""

    forms: Forms
    register: Register
    rows: tuple[Row, ...]
    bearers: dict[str, Counter[str]]
    often: dict[str, frozenset[int]]
    judged: dict[tuple[str, bool, bool], bool] = field(default_factory=dict)
    pools: dict[tuple[frozenset[str], bool, Split], list[int]] = field(default_factory=dict)

    @staticmethod
    def make(forms: Forms, register: Register, table: Table) -> Expander:
        """Binds forms to ``table``, one of the tables of ``register``."""
        names = [column.name for column in table.columns]
        rows = tuple(dict(zip(names, row, strict=True)) for row in table.rows)
        bearers = {
            slot.column: Counter(fold(str(row[slot.column])) for row in rows)
            for slot in forms.slots.values()
            if slot.unique
        }
        often = {}
        for slot in forms.slots.values():
            if slot.often:
                kept = register.query(
                    f"SELECT {slot.column} FROM {table.name} WHERE {slot.often}", rows=20_000, seconds=60
                )
                if kept.truncated:
                    raise BadInput(words(f"{slot.often!r} holds too often", f"{slot.often!r} est trop souvent vrai"))
                known = {row[0] for row in kept.rows}
                often[slot.column] = frozenset(place for place, row in enumerate(rows) if row[slot.column] in known)
        return Expander(forms, register, rows, bearers, often)

    def expand(self, form: Form, count: int, split: Split, stratum: str, seed: int) -> list[Prompt]:
        """Up to ``count`` different prompts of one form.

        Raises:
            BadInput: if not one filling gives a sound answer.
        """
        draw = random.Random(f"{seed} {split} {form.id}")
        found: dict[str, Prompt] = {}
        pools = self._pools(form, split)
        phrasings = self._phrasings(form, draw)
        for _ in range(TRIES + count * TRIES_PER_PROMPT):
            if len(found) == count:
                break
            values = self._fill(form, split, pools, draw)
            if values is None:
                continue
            truth = self._truth(form, values)
            if truth is None:
                continue
            phrasing, english = next(phrasings)
            text = self._say(phrasing, values, english, draw)
            if fold(text) not in found:
                asked = (Message(role="user", content=text),)
                rest = {"split": split, "stratum": stratum, "form": form.id, "source": SOURCE}
                found[fold(text)] = Prompt.make(asked, truth, **rest)
        if not found:
            raise BadInput(
                words(f"form {form.id!r} has no sound filling", f"la forme {form.id!r} n'a aucun remplissage sûr"),
                words("look at its query and slots", "regardez sa requête et ses champs"),
            )
        return list(found.values())

    def _phrasings(self, form: Form, draw: random.Random) -> Iterator[tuple[str, bool]]:
        """Endless phrasings: each French one as often as the others, English ones now and then."""
        while True:
            for phrasing in draw.sample(form.ask, len(form.ask)):
                english = bool(form.ask_en) and draw.random() < ENGLISH_SHARE
                yield (draw.choice(form.ask_en), True) if english else (phrasing, False)

    def _used(self, form: Form) -> dict[str, set[str]]:
        """The slots that a form uses, by the digit that tells one row from another."""
        used: dict[str, set[str]] = {}
        for text in (*form.ask, *form.ask_en, form.sql):
            for match in SLOT.finditer(text):
                if match["name"] not in self.forms.slots:
                    raise BadInput(
                        words(f"form {form.id!r}: no slot {match[0]}", f"forme {form.id!r} : pas de champ {match[0]}")
                    )
                used.setdefault(match["place"] or "1", set()).add(match["name"])
        return used

    def _pools(self, form: Form, split: Split) -> dict[str, list[list[Row]]]:
        """For each group of slots, the rows it may draw, in heaps that are equally likely."""
        used = self._used(form)
        columns = frozenset(self.forms.slots[name].column for names in used.values() for name in names) - {""}
        pool = self._pool(columns, form.homonyms, split)
        return {digit: self._heaps(names, pool) for digit, names in used.items()}

    def _heaps(self, names: set[str], pool: list[int]) -> list[list[Row]]:
        """Heaps by coarse place where only such are named; else well-known rows and all rows."""
        columns = [self.forms.slots[name].column for name in sorted(names) if self.forms.slots[name].column]
        if not columns:
            return []
        coarse = [column for column in self.forms.reserved["heldout"] if column in columns]
        if set(columns) <= {*coarse, "numero_departement"}:
            column = coarse[-1] if coarse else columns[0]
            heaps: dict[str, list[Row]] = {}
            for place in pool:
                heaps.setdefault(str(self.rows[place][column]), []).append(self.rows[place])
            return [heaps[name] for name in sorted(heaps)]
        known = next((self.often[column] for column in columns if column in self.often), frozenset())
        heaps_of = ([self.rows[place] for place in pool if place in known], [self.rows[place] for place in pool])
        return [heap for heap in heaps_of if heap]

    def _pool(self, columns: frozenset[str], homonyms: bool, split: Split) -> list[int]:
        """The rows of a split that forms which name these columns may draw."""
        wanted = (columns, homonyms, split)
        if wanted not in self.pools:
            heldout = self.forms.reserved["heldout"]
            named = columns & set(heldout)
            checked = named if columns <= set(heldout) else named | set(list(heldout)[-1:])
            places = range(len(self.rows))
            allowed = (place for place in places if self._belongs(self.rows[place], checked or columns, split))
            self.pools[wanted] = [
                place for place in allowed if self._names_well(self.rows[place], columns, homonyms, split)
            ]
        return self.pools[wanted]

    def _belongs(self, row: Row, checked: frozenset[str], split: Split) -> bool:
        """Whether a row's reserved values put it into a split."""
        heldout, validation = self.forms.reserved["heldout"], self.forms.reserved["validation"]
        if not heldout:
            return {_part(row[column]) for column in checked} <= {split}
        if any((row[column] in heldout[column]) != (split == "heldout") for column in checked):
            return False
        kept = checked & set(validation) if split != "heldout" else frozenset()
        return not any((row[column] in validation[column]) != (split == "validation") for column in kept)

    def _names_well(self, row: Row, columns: frozenset[str], homonyms: bool, split: Split) -> bool:
        """Whether a row has people, and its name is its own, or shared where shared names are wanted."""
        if not row.get("population", 1):
            return False
        for column in columns & set(self.bearers):
            name = fold(str(row[column]))
            if (self.bearers[column][name] > 1) != homonyms:
                return False
            if homonyms and (zlib.crc32(name.encode()) % SHARED_NAMES_HELD_OUT == 0) != (split == "heldout"):
                return False
        return True

    def _fill(self, form: Form, split: Split, pools: dict[str, list[list[Row]]], draw: random.Random) -> Values | None:
        values: Values = {}
        for digit, names in sorted(self._used(form).items()):
            suffix = "" if digit == "1" else f"_{digit}"
            row = draw.choice(draw.choice(pools[digit])) if pools[digit] else None
            for name in sorted(names):
                slot = self.forms.slots[name]
                value = self._value(slot, row, split, draw)
                if value is None:
                    return None
                values[name + suffix] = value
        numbers = [values.get("seuil"), values.get("seuil_2")]
        if None not in numbers and int(numbers[0] or 0) >= int(numbers[1] or 0):
            return None
        repeated = [value for name, value in values.items() if name + "_2" in values and values[name + "_2"] == value]
        return None if repeated else values

    def _value(self, slot: Slot, row: Row | None, split: Split, draw: random.Random) -> str | int | None:
        if not slot.column:
            return draw.choice(slot.heldout if split == "heldout" else slot.train)
        value = row[slot.column] if row else None
        if value is None or value == "":
            return None
        return draw.choice(str(value).split()) if slot.several else str(value)

    def _truth(self, form: Form, values: Values) -> dict[str, object] | None:
        """What is true, or None if it is empty, long, unknown or a tie."""
        if form.declines:
            return {"decline": True}
        sql = SLOT.sub(lambda match: self._in_sql(match, values), form.sql)
        asked = (sql, form.ordered, form.zero)
        if asked not in self.judged:
            self.judged[asked] = is_sound(self.register, *asked)
        return {"sql": sql, "ordered": form.ordered} if self.judged[asked] else None

    @staticmethod
    def _in_sql(match: re.Match[str], values: Values) -> str:
        name = match["name"] + (f"_{match['place']}" if match["place"] else "")
        return str(values[name]).replace("'", "''")

    def _say(self, phrasing: str, values: Values, english: bool, draw: random.Random) -> str:
        """The question in words, with a slip of the pen now and then outside the slots."""

        def put(match: re.Match[str]) -> str:
            value = values[match["name"] + (f"_{match['place']}" if match["place"] else "")]
            slot = self.forms.slots[match["name"]]
            if slot.number:
                return say_number(int(value), english, draw)
            if not slot.grammar:
                return str(value)
            place = self.forms.place(slot.grammar, str(value))
            said = {"le": place.le, "la": place.le, "du": place.de, "de": place.de}.get(match["view"] or "")
            return said or (place.dans if match["view"] else place.name)

        text = SLOT.sub(put, add_typo(phrasing, draw))
        return disguise(text[0].upper() + text[1:] if phrasing[0].isupper() or phrasing[0] == "{" else text, draw)


def _part(value: Cell) -> Split:
    """The split of whatever a cell names, where nobody says: three parts in twenty held out, two for validation."""
    place = zlib.crc32(fold(str(value)).encode()) % 20
    return "heldout" if place < 3 else "validation" if place < 5 else "train"


def is_sound(register: Register, sql: str, ordered: bool, zero: bool) -> bool:
    """Whether a query's answer is there, short, fully known and free of ties."""
    try:
        answer = register.query(sql, rows=MOST_ROWS, seconds=MOST_SECONDS)
        if not answer.rows or answer.truncated or any(cell is None for row in answer.rows for cell in row):
            return False
        if answer.rows == ((0,),) and not zero:
            return False
        ranking = RANKING.match(sql)
        if ranking is None:
            return True
        # One row more than asked for shows a tie at the cut; an asked-for order needs every rank to be clear.
        rest, key, descending, limit, offset = ranking.groups()
        group = register.query(f"SELECT {key} {rest} ORDER BY {key}{descending or ''}", rows=200, seconds=MOST_SECONDS)
    except QueryError:
        return False
    ranks = [row[0] for row in group.rows]
    cut = int(limit) + int(offset or 0) if limit else len(ranks)
    if len(ranks) < cut:
        return False
    clear = len(set(ranks[: cut + 1])) == len(ranks[: cut + 1])
    return clear if ordered or offset else cut >= len(ranks) or ranks[cut - 1] != ranks[cut]
