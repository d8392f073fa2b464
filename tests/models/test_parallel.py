"""The denoiser, split between two processes, gives the same output as in one, or raises a clear error."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

REFUSED = {
    "pixels": "7 pixel tokens cannot be split evenly among 2 processes: set ulysses_anything=True",
    "training": "cannot be trained under Ulysses attention",
    "heads": "ulysses_degree=2 does not divide num_attention_heads=1",
    "tokens": "3 latent tokens cannot be split evenly among 2 processes",
    "cache": "FirstBlockCacheConfig does not work with context parallelism",
    "cached": "FirstBlockCacheConfig does not work with context parallelism",
    "fused": "call unfuse_qkv_projections() first",
}


@pytest.fixture(scope="module")
def lines() -> list[list[str]]:
    """The lines that both processes print, those of the first process first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), *filter(None, sys.path)]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "parallel_processes.py", str(port), str(rank)],
            cwd=HERE, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        found = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], found[0][1] + found[1][1]
    return [line.split("\t") for printed, _ in found for line in printed.splitlines()]


def test_both_processes_compute_the_output_of_the_whole_model(lines: list[list[str]]) -> None:
    differences = [(name, float(value)) for label, *name, value in lines if label == "output"]
    assert len(differences) == 2 * (3 * 5 + 3)
    assert [entry for entry in differences if not entry[1] < 5e-6] == []


def test_gradients_of_the_processes_sum_to_those_of_the_whole_model(lines: list[list[str]]) -> None:
    differences = [float(line[-1]) for line in lines if line[0] == "gradient"]
    assert len(differences) == 4 and max(differences) < 1e-5


@pytest.mark.parametrize("case", REFUSED)
def test_configurations_that_cannot_be_split_raise_errors(lines: list[list[str]], case: str) -> None:
    sentences = [line[2] for line in lines if line[:2] == ["refused", case]]
    assert len(sentences) == 2 and all(REFUSED[case] in sentence for sentence in sentences)
