"""docs/data.md and the module's docstring name every field of a sample and every family."""

import re
from pathlib import Path

from triplane3d.data import sample
from triplane3d.data.procedural import FAMILIES, HOLDOUT_FAMILIES

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def field_rows(text: str) -> list[tuple[str, str, str]]:
    """Name, shape and stored type in each row of a table of fields."""
    return re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", text, flags=re.MULTILINE)


def test_both_tables_of_fields_are_those_of_the_code() -> None:
    expected = []
    for name, field in sample.FIELDS.items():
        stored = str(field.stored).removeprefix("torch.") + (f", × {field.scale}" if field.scale > 1 else "")
        expected.append((name, ", ".join(map(str, field.axes)), stored))
    assert field_rows(PAGE) == expected
    assert field_rows(sample.__doc__ or "") == expected


def test_every_family_is_listed_once_and_held_out_families_separately() -> None:
    rows = [row.split("|")[1:3] for row in PAGE.splitlines() if row.startswith("|")]
    listed = {subject.strip(): names.strip().split(", ") for subject, names in rows}
    held_out = listed["held out"]
    trained = [name for subject, names in listed.items() if subject != "held out" for name in names if name in FAMILIES]
    assert sorted(trained) == sorted(FAMILIES) and sorted(held_out) == sorted(HOLDOUT_FAMILIES)
