"""Stage 0: writes shards of procedural shapes with several worker processes (`scripts/prepare_shapes.py`)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import torch

from triplane3d.config import ShapesConfig, save_config
from triplane3d.config.loader import read_saved, refuse_other_settings
from triplane3d.data.procedural.families import FAMILIES, HOLDOUT_FAMILIES
from triplane3d.data.procedural.generation import FIRST_EVALUATION_SEED
from triplane3d.data.procedural.samples import write_shape_shard
from triplane3d.data.shards import SCRIPT
from triplane3d.printing import print_line
from triplane3d.signals import SIGNALS, Stopped, ignore_signals
from triplane3d.storage.durable import remove_temporaries
from triplane3d.storage.locks import lock_folder
from triplane3d.storage.tensor_files import open_tensors
from triplane3d.storage.writability import check_folder

FIRST_VALIDATION_SEED = FIRST_EVALUATION_SEED + 500_000_000
"""Evaluation counts its seeds from `FIRST_EVALUATION_SEED`. Checkpoints must not be selected on those shapes."""

CHANGEABLE = ("output", "shapes", "validation_shapes", "workers", "device", "batch_size")
"""Keys that may differ from those of the shards that a folder holds already."""


def prepare(config: ShapesConfig) -> None:
    """Writes the shards of `train/` and `validation/` in `config.output` that do not exist yet.

    `config.workers` processes write one shard each at a time. Raises `ValueError` if the configuration cannot be used
    or the folder holds shards of other settings, `Stopped` if a signal ends the command.
    """
    check_config(config)
    output = Path(config.output)
    check_folder(output, "output")
    lock_folder(output, create=False)
    needed = [
        *shards_of(output / "validation", FIRST_VALIDATION_SEED, config.validation_shapes, config.shard_size),
        *shards_of(output / "train", config.first_seed, config.shapes, config.shard_size),
    ]
    check_existing(config, [shard for shard in needed if shard[0].exists()])
    missing = [shard for shard in needed if not shard[0].exists()]
    for path, _ in needed:
        path.parent.mkdir(parents=True, exist_ok=True)
    lock_folder(output)
    for folder in {output, *(path.parent for path, _ in needed)}:
        remove_temporaries(folder)
    save_config(config, output / "config.yaml")
    print_line(f"{len(missing)} shards to write below {output}")

    write = partial(write_shape_shard, surface_points=config.surface_points, label_points=config.label_points,
                    views=config.views, image_size=config.image_size, families=config.families,
                    random_views=config.random_views, random_view_size=config.random_view_size,
                    batch_size=config.batch_size, device=config.device)  # fmt: skip
    start, done = time.perf_counter(), 0
    # Processes are spawned: forked ones would inherit an initialised CUDA context or thread pool, and hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(config.workers, context, initializer=start_worker)
    try:
        with children_ignore_signals():
            futures = {pool.submit(write, path, seeds): len(seeds) for path, seeds in missing}
        for future in as_completed(futures):
            future.result()
            done += futures[future]
            print_line(f"{done} shapes, {done / (time.perf_counter() - start):.1f} per second")
    except Stopped as stopped:
        workers = multiprocessing.active_children()
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
        for folder in {path.parent for path, _ in missing}:
            remove_temporaries(folder)
        message = f"stopped by {stopped.name}; {done} of {sum(futures.values())} shapes are written below {output}"
        raise Stopped(stopped.signum, f"{message}. The same command writes the others") from None
    finally:
        pool.shutdown(cancel_futures=True)


def check_config(config: ShapesConfig) -> None:
    """Raises `ValueError` for a configuration that would fail only after the workers have started, or silently."""
    if unknown := sorted(set(config.families or ()) - set(FAMILIES | HOLDOUT_FAMILIES)):
        raise ValueError(f"families: there is no family {', '.join(unknown)} of shapes")
    if config.random_views and not config.views:
        raise ValueError(f"random_views={config.random_views} needs a view from the front as well: set views to 1")
    if config.first_seed + config.shapes > FIRST_EVALUATION_SEED:
        raise ValueError(f"seeds from {FIRST_EVALUATION_SEED} on are for evaluation: choose a smaller first_seed")
    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={config.device} cannot be used here: {str(error).splitlines()[0]}") from None


def check_existing(config: ShapesConfig, existing: list[tuple[Path, range]]) -> None:
    """Raises `ValueError` if the existing shards were written with other settings or hold other seeds."""
    saved = Path(config.output) / "config.yaml"
    settings = read_saved(saved)
    if existing and settings is None:
        print_line(f"warning: {saved} is missing or damaged: the settings of the shards cannot be checked", error=True)
    if existing and settings is not None:
        refuse_other_settings(config.output, settings, config, CHANGEABLE, "shards")
    for path, seeds in existing:
        stored = open_tensors(path, ("seeds",), noun="shard", script=SCRIPT).get_tensor("seeds")
        if stored.tolist() != list(seeds):
            raise ValueError(
                f"{path} holds {len(stored)} shapes from seed {int(stored[0])} on, but this configuration has "
                f"{len(seeds)} shapes from seed {seeds[0]} on in that file: delete it, or choose another output"
            )


@contextmanager
def children_ignore_signals() -> Iterator[None]:
    """Processes that are started within this context ignore SIGINT and SIGTERM from the beginning.

    The command itself ends its workers. A terminal sends SIGINT to all of them.
    """
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def start_worker() -> None:
    """Initialises a worker process: one thread, and a thread that ends the worker when the command has ended.

    The latter is needed when the command is killed: it then cannot end its workers.
    """
    torch.set_num_threads(1)
    ignore_signals()
    command = multiprocessing.parent_process()
    assert command is not None, "workers are started by the command"

    def end_with_command() -> None:
        command.join()
        os._exit(1)

    Thread(target=end_with_command, daemon=True).start()


def shards_of(folder: Path, first: int, count: int, size: int) -> list[tuple[Path, range]]:
    """Path and seeds of each shard of `count` shapes, `size` to a file, whose seeds count from `first`."""
    return [
        (folder / f"shapes-{number:05d}.safetensors", range(start, min(start + size, first + count)))
        for number, start in enumerate(range(first, first + count, size))
    ]
