"""Stage 0, procedural shapes. `python scripts/prepare_shapes.py configs/mini/data.yaml [--key value …]`

Shards that exist already are kept, so the command can be stopped and given again.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import torch

from triplane3d.config import ShapesConfig, save_config
from triplane3d.data.shapes import HELD_OUT_SEED
from triplane3d.data.shards import write_shard
from triplane3d.training.launch import launch

# Evaluation draws its seeds from HELD_OUT_SEED on; validation must not be chosen on them.
VALIDATION_SEED = HELD_OUT_SEED + 500_000_000


def prepare(config: ShapesConfig) -> None:
    """Writes `train/` and `validation/` below `config.output`, `config.workers` shards at a time."""
    output = Path(config.output)
    jobs = [job for split, first, count in (("validation", VALIDATION_SEED, config.validation_shapes),
                                            ("train", config.first_seed, config.shapes))
            for job in shards(output / split, first, count, config.shard_size) if not job[0].exists()]  # fmt: skip
    save_config(config, output / "config.yaml")
    print(f"{len(jobs)} shards to write below {output}", flush=True)

    write = partial(write_shard, surface_points=config.surface_points, label_points=config.label_points,
                    views=config.views, image_size=config.image_size, families=config.families,
                    around=config.around, around_size=config.around_size,
                    batch_size=config.batch_size, device=config.device)  # fmt: skip
    begun, done = time.perf_counter(), 0
    # Spawned, not forked: a forked copy of an initialised CUDA context or thread pool hangs.
    with ProcessPoolExecutor(config.workers, get_context("spawn"), initializer=begin_worker) as pool:
        futures = {pool.submit(write, path, seeds): len(seeds) for path, seeds in jobs}
        for future in as_completed(futures):
            future.result()
            done += futures[future]
            print(f"{done} shapes, {done / (time.perf_counter() - begun):.1f} per second", flush=True)


def begin_worker() -> None:
    """One thread a worker, and none that outlives the command: killed, that could not tell them to stop."""
    torch.set_num_threads(1)
    command = parent_process()
    assert command is not None, "workers are started by the command"

    def follow() -> None:
        command.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()


def shards(folder: Path, first: int, count: int, size: int) -> list[tuple[Path, range]]:
    """File and seeds of each shard of `count` shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    return [(folder / f"shapes-{number:05d}.safetensors", range(start, min(start + size, first + count)))
            for number, start in enumerate(range(first, first + count, size))]  # fmt: skip


if __name__ == "__main__":
    launch(prepare, ShapesConfig, description=__doc__)
