"""One pipeline is called from several threads: every call gives the same result as a single call."""

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.hooks import FirstBlockCacheConfig
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from peft import LoraConfig
from pipelines.tiny_pipeline import photo

from triplane3d import Triplane3DPipeline

THREADS = 4
STEPS_AND_SCALES = [(2, 1.0), (5, 3.0), (3, 5.0), (4, 1.0), (6, 2.0), (2, 4.0), (5, 1.0), (3, 2.0)]
JOBS = [
    {"seed": seed, "num_inference_steps": steps, "guidance_scale": scale}
    for seed, (steps, scale) in enumerate(STEPS_AND_SCALES)
]


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Python switches threads after microseconds instead of milliseconds, so that calls overlap in every test."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def default_attention() -> Iterator[None]:
    """`set_attention_backend` also sets the backend of all later models."""
    yield
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)


def run(pipe: Triplane3DPipeline, job: dict[str, Any], **options: Any) -> torch.Tensor:
    job = {**job, **options}
    generator = torch.Generator().manual_seed(job.pop("seed"))
    return pipe(photo(generator.initial_seed() % 3), generator=generator, output_type="latent", **job).meshes


def in_threads(call: Callable[[dict], torch.Tensor], jobs: list[dict]) -> list[torch.Tensor]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, jobs))


def with_cache(pipe: Triplane3DPipeline) -> None:
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.05))


def with_guider(pipe: Triplane3DPipeline) -> None:
    pipe.guider = ClassifierFreeGuidance(guidance_scale=3.0)


def with_scheduler(scheduler: type) -> Callable[[Triplane3DPipeline], None]:
    def change(pipe: Triplane3DPipeline) -> None:
        pipe.scheduler = scheduler(prediction_type="v_prediction")

    return change


CHANGES = {
    "unchanged": lambda pipe: None,
    "a multistep scheduler": with_scheduler(DPMSolverMultistepScheduler),
    "a diffusion scheduler": with_scheduler(DDIMScheduler),
    "a cache": with_cache,
    "a guider": with_guider,
    "offloading": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "an attention backend": lambda pipe: pipe.transformer.set_attention_backend("_native_math"),
    "layerwise casting": lambda pipe: pipe.transformer.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_calls_from_four_threads_give_the_same_results_as_single_calls(
    pipe: Triplane3DPipeline, change: Callable[[Triplane3DPipeline], None]
) -> None:
    change(pipe)
    jobs = [{**job, "guidance_scale": None} for job in JOBS] if pipe.guider is not None else JOBS
    expected = [run(pipe, job) for job in jobs]
    for alone, together in zip(2 * expected, in_threads(lambda job: run(pipe, job), 2 * jobs), strict=True):
        assert torch.equal(alone, together)


def test_each_call_has_its_own_lora_scale(pipe: Triplane3DPipeline) -> None:
    adapter = LoraConfig(r=2, lora_alpha=8, init_lora_weights=False, target_modules=["to_q", "to_v"])
    pipe.transformer.add_adapter(adapter)
    jobs = [{**job, "attention_kwargs": {"scale": 0.25 * (1 + place)}} for place, job in enumerate(JOBS)]
    expected = [run(pipe, job) for job in jobs]
    for alone, together in zip(expected, in_threads(lambda job: run(pipe, job), jobs), strict=True):
        assert torch.equal(alone, together)


def test_meshes_from_four_threads_are_equal(pipe: Triplane3DPipeline) -> None:
    def mesh(job: dict) -> torch.Tensor:
        generator = torch.Generator().manual_seed(job["seed"])
        return torch.from_numpy(pipe(photo(), generator=generator, resolution=16).meshes[0].vertices)

    expected = [mesh(job) for job in JOBS]
    for alone, together in zip(expected, in_threads(mesh, JOBS), strict=True):
        assert torch.equal(alone, together)


def test_a_callback_reads_and_stops_only_its_own_call(pipe: Triplane3DPipeline) -> None:
    steps: dict[int, list[int]] = {job["seed"]: [] for job in JOBS}

    def call(job: dict) -> torch.Tensor:
        def stop_after_two(pipe: Triplane3DPipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
            assert (pipe.num_timesteps, pipe.guidance_scale) == (job["num_inference_steps"], job["guidance_scale"])
            assert float(pipe.current_timestep) == float(timestep)
            steps[job["seed"]].append(step)
            pipe._interrupt = step == 1 and job["seed"] % 2 == 0
            return {}

        return run(pipe, job, callback_on_step_end=stop_after_two)

    in_threads(call, JOBS)
    for job in JOBS:
        assert len(steps[job["seed"]]) == (2 if job["seed"] % 2 == 0 else job["num_inference_steps"])


def test_interrupt_set_by_another_thread_stops_all_running_calls(pipe: Triplane3DPipeline) -> None:
    started, stopped = threading.Barrier(THREADS + 1, timeout=60), threading.Event()
    steps: list[int] = []

    def wait(pipe: Triplane3DPipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        if step == 0:
            started.wait()
            assert stopped.wait(timeout=60)
        steps.append(step)
        return {}

    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(run, pipe, JOBS[1], callback_on_step_end=wait) for _ in range(THREADS)]
        started.wait()
        pipe._interrupt = True
        stopped.set()
        for job in jobs:
            job.result()
    assert steps == [0] * THREADS
    assert not pipe.interrupt


def test_a_callback_may_call_the_pipeline(pipe: Triplane3DPipeline) -> None:
    expected, inner = run(pipe, JOBS[1]), run(pipe, JOBS[0])

    def call_again(pipe: Triplane3DPipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        assert torch.equal(run(pipe, JOBS[0]), inner)
        assert (pipe.num_timesteps, pipe.guidance_scale) == (5, 3.0)
        return {}

    assert torch.equal(run(pipe, JOBS[1], callback_on_step_end=call_again), expected)


def test_a_call_does_not_change_the_scheduler(pipe: Triplane3DPipeline) -> None:
    before = copy.deepcopy(pipe.scheduler.__dict__)
    run(pipe, JOBS[1])
    assert before.keys() == pipe.scheduler.__dict__.keys()
    for name, value in before.items():
        assert (
            torch.equal(value, getattr(pipe.scheduler, name))
            if isinstance(value, torch.Tensor)
            else (value == getattr(pipe.scheduler, name))
        )


def test_pipelines_can_be_copied(pipe: Triplane3DPipeline) -> None:
    expected = run(pipe, JOBS[0])
    assert torch.equal(run(copy.deepcopy(pipe), JOBS[0]), expected)  # pickling uses the same methods
