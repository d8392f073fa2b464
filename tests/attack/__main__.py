"""Damaged files of every kind: each gives the same result or an error sentence within seconds, and runs no code.

    python tests/attack --count 1000
    python tests/attack --only pipeline --number 17

For every kind of file in `targets.py`, valid files are damaged with seeded random numbers (`damage.py`): values of
other types and sizes, missing keys, classes of other libraries, flipped bits, cut and spliced files, headers of
weights, malicious pickles and modules, YAML that grows exponentially, folders and link loops in place of files. A
process reads each copy. The exit code is 1 where a reading ended in a traceback, a hang, another result, or ran code.

`benchmarks/fuzz_photos.py` tests photos, and `tests/training/test_durability.py` tests kills; `make attack` runs all
three.
"""

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("attack", "training", ".")]
sys.path.append(str(TESTS.parent / "benchmarks"))

import numpy as np  # noqa: E402
import typer  # noqa: E402
from damage import damage  # noqa: E402
from reader import Reader  # noqa: E402
from targets import TARGETS, Target  # noqa: E402

ENDINGS = ("same result", "another value", "sentence", "exception", "hang", "silent difference", "code executed")
FAULTS = ENDINGS[3:]


def main(
    count: Annotated[int, typer.Option(min=1, help="Damaged copies of each kind of file.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the damage.")] = 0,
    only: Annotated[str | None, typer.Option(help=f"One kind: {', '.join(TARGETS)}.")] = None,
    number: Annotated[int | None, typer.Option(help="Only this copy, with its complete message.")] = None,
) -> None:
    if only is not None and only not in TARGETS:
        raise typer.BadParameter(f"--only must be one of {', '.join(TARGETS)}; got {only}")
    chosen = TARGETS if only is None else {only: TARGETS[only]}
    rows: dict[str, Counter[str]] = {}
    for name, target in chosen.items():
        numbers: Sequence[int] = [number] if number is not None else range(max(1, round(count * target.share)))
        rows |= attack(name, target, numbers, seed, verbose=number is not None)
    print_table(rows)
    total = sum(rows.values(), Counter())
    faults = sum(total[ending] for ending in FAULTS)
    print(f"\n{total.total()} readings, {faults} faults")
    raise typer.Exit(1 if faults else 0)


def attack(name: str, target: Target, numbers: Sequence[int], seed: int, *, verbose: bool) -> dict[str, Counter[str]]:
    """Counts how the readings of damaged copies ended, for each way of reading; prints the faults."""
    rows = {f"{name}, {way}": Counter() for way in target.reads}
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        whole, marker = Path(place) / "whole", Path(place) / "marker"
        target.make(whole)
        reader = Reader(target.reads)
        expected = {way: reader.read(way, shutil.copytree(whole, Path(place) / f"valid-{way}")) for way in target.reads}
        for way, ending in expected.items():
            assert ending.kind == "result", f"{name}, {way}: valid files end in {ending.kind}: {ending.text}"
        for number in numbers:
            rng = np.random.default_rng([seed, number])
            damaged = Path(place) / f"damaged-{number}"
            shutil.copytree(whole, damaged)
            files = sorted(path for path in damaged.rglob("*") if path.is_file())
            file = files[rng.integers(len(files))]
            what = damage(file, rng, marker)
            free = file.suffix in target.settings or (target.collection and not file.exists())
            for way in target.reads:
                folder = shutil.copytree(damaged, Path(place) / f"copy-{number}", symlinks=True)  # some write into it
                ending = reader.read(way, folder)
                kind = ending.kind
                if kind == "result":
                    kind = "same result" if ending.text == expected[way].text else "silent difference"
                    kind = "another value" if free and kind != "same result" else kind
                if marker.exists():
                    kind = "code executed"
                    marker.unlink()
                rows[f"{name}, {way}"][kind] += 1
                if kind in FAULTS or verbose:
                    print(
                        f"{name} number {number}, {way}, {what}: {kind}: {ending.text[0 if verbose else -400 :]}",
                        flush=True,
                    )
                for path in Path(place).glob(f"copy-{number}*"):
                    shutil.rmtree(path)
            shutil.rmtree(damaged)
        reader.stop()
    print(f"{name}: {len(numbers)} copies in {time.perf_counter() - begun:.0f} s", flush=True)
    return rows


def print_table(rows: dict[str, Counter[str]]) -> None:
    print(f"\n{'':<46}{'readings':>10}" + "".join(f"{ending:>19}" for ending in ENDINGS))
    for name, counts in rows.items():
        print(f"{name:<46}{counts.total():>10}" + "".join(f"{counts[ending]:>19}" for ending in ENDINGS))


if __name__ == "__main__":
    typer.run(main)
