"""Stage 0, procedural shapes. `python scripts/prepare_shapes.py configs/mini/data.yaml [--key value …]`

Shards that exist already are kept, so the command can be stopped and given again.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import torch

from triplane3d.config import ShapesConfig, parse_config, save_config
from triplane3d.config.loader import defaults, flatten, read_saved
from triplane3d.data.procedural import FAMILIES, FIRST_EVALUATION_SEED, HOLDOUT_FAMILIES
from triplane3d.data.procedural.samples import write_shape_shard
from triplane3d.errors import errors_as_sentences
from triplane3d.signals import SIGNALS, Stopped, ignore_signals
from triplane3d.storage.durable import remove_temporaries
from triplane3d.storage.locks import lock_folder
from triplane3d.storage.tensor_files import open_tensors

# Evaluation draws its seeds from FIRST_EVALUATION_SEED on; validation must not be chosen on them.
VALIDATION_SEED = FIRST_EVALUATION_SEED + 500_000_000

FREE = ("output", "shapes", "validation_shapes", "workers", "device", "batch_size")
"""Keys that may change when shards are added to those that a folder holds."""


def prepare(config: ShapesConfig) -> None:
    """Writes `train/` and `validation/` below `config.output`, `config.workers` shards at a time."""
    check(config)
    output = Path(config.output)
    lock_folder(output, create=False)
    wanted = [job for split, first, count in (("validation", VALIDATION_SEED, config.validation_shapes),
                                              ("train", config.first_seed, config.shapes))
              for job in shards(output / split, first, count, config.shard_size)]  # fmt: skip
    check_existing(config, [job for job in wanted if job[0].exists()])
    jobs = [job for job in wanted if not job[0].exists()]
    for path, _ in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
    lock_folder(output)
    for folder in {output, *(path.parent for path, _ in wanted)}:
        remove_temporaries(folder)
    save_config(config, output / "config.yaml")
    print(f"{len(jobs)} shards to write below {output}", flush=True)

    write = partial(write_shape_shard, surface_points=config.surface_points, label_points=config.label_points,
                    views=config.views, image_size=config.image_size, families=config.families,
                    random_views=config.random_views, random_view_size=config.random_view_size,
                    batch_size=config.batch_size, device=config.device)  # fmt: skip
    begun, done = time.perf_counter(), 0
    # Spawned, not forked: a forked copy of an initialised CUDA context or thread pool hangs.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(config.workers, context, initializer=begin_worker)
    try:
        with children_ignore_signals():
            futures = {pool.submit(write, path, seeds): len(seeds) for path, seeds in jobs}
        for future in as_completed(futures):
            future.result()
            done += futures[future]
            print(f"{done} shapes, {done / (time.perf_counter() - begun):.1f} per second", flush=True)
    except Stopped as stopped:
        workers = multiprocessing.active_children()
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
        for folder in {path.parent for path, _ in jobs}:
            remove_temporaries(folder)
        message = f"stopped by {stopped.name}; {done} of {sum(futures.values())} shapes are written below {output}"
        raise Stopped(stopped.signum, f"{message}. The same command goes on with the others") from None
    finally:
        pool.shutdown(cancel_futures=True)


def check(config: ShapesConfig) -> None:
    """Refuses what only fails once workers have started, or not at all."""
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


def check_existing(config: ShapesConfig, kept: list[tuple[Path, range]]) -> None:
    """Refuses a folder whose shards were written with other settings, or for other seeds."""
    saved = Path(config.output) / "config.yaml"
    settings = read_saved(saved)
    if kept and settings is None:
        print(f"warning: {saved} is missing or damaged: it is not known whether settings differ", file=sys.stderr)
    if kept and settings is not None:
        before = defaults(ShapesConfig) | settings
        changed = [f"{key}: {before.get(key)}, now {value}" for key, value in flatten(config).items()
                   if key not in FREE and value != before.get(key)]  # fmt: skip
        if changed:
            raise ValueError(
                f"{config.output} holds shards of other settings ({'; '.join(changed)}): restore them, or choose "
                "another output"
            )
    for path, seeds in kept:
        held = open_tensors(path, ("seeds",), noun="shard", script="scripts/prepare_shapes.py").get_tensor("seeds")
        if held.tolist() != list(seeds):
            raise ValueError(
                f"{path} holds {len(held)} shapes from seed {int(held[0])} on, not the {len(seeds)} from {seeds[0]} on "
                "that this configuration has there: delete it, or choose another output"
            )


@contextmanager
def children_ignore_signals() -> Iterator[None]:
    """Processes that are started inside ignore SIGINT and SIGTERM from their first moment: the command ends them."""
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def begin_worker() -> None:
    """One thread a worker, and none that outlives the command: killed, that could not tell them to stop."""
    torch.set_num_threads(1)
    ignore_signals()
    command = multiprocessing.parent_process()
    assert command is not None, "workers are started by the command"

    def follow() -> None:
        command.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()


def shards(folder: Path, first: int, count: int, size: int) -> list[tuple[Path, range]]:
    """File and seeds of each shard of `count` shapes."""
    return [(folder / f"shapes-{number:05d}.safetensors", range(start, min(start + size, first + count)))
            for number, start in enumerate(range(first, first + count, size))]  # fmt: skip


if __name__ == "__main__":
    with errors_as_sentences():
        prepare(parse_config(ShapesConfig, description=__doc__))
