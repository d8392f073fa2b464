"""Telling an error of too little memory from all others."""

import errno

# How torch (CPU, CUDA, MPS, cuBLAS), numpy, C++, the loader of libraries and Python's threads name a failed allocation.
SIGNS = (
    "out of memory",
    "allocate memory",
    "unable to allocate",
    "not enough memory",
    "bad_alloc",
    "bad allocation",
    "alloc_failed",
    "failed to map segment",
    "can't start new thread",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on the processor or on a GPU.

    Python and numpy raise `MemoryError`. torch raises `RuntimeError` on the CPU and on Apple GPUs, and a subclass of it
    on CUDA, so that only the text tells. The system says it by a number.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error).lower()
    return any(sign in text for sign in SIGNS)
