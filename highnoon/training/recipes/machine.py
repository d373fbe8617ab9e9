"""The machine that a run is chosen for."""

from __future__ import annotations

import dataclasses
import os

# Operations per second of training. A core: a run of highnoon-nano reaches this and a fifth more, see
# benchmarks/first_run.py. A GPU by its compute capability: assumed, well below what its products reach.
CORE_OPERATIONS = 40e9
MOST_CORES = 8
"""More cores do not speed up the small products of models that a CPU can train."""
GPU_OPERATIONS = ((9, 100e12), (8, 40e12), (7, 15e12), (0, 4e12))


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a machine can train: its class, never a measurement, so that the same machine gives the same run.

    Args:
        num_cores: CPU cores that this process may use.
        memory_bytes: All memory of the machine or of the control group of this process.
        num_gpus: GPUs; with at least one, they train and not the CPU.
        gpu_capability: Major compute capability of the GPUs, such as 9 for an H100.

    Example:

    ```python
    from highnoon.training.recipes import Machine

    assert str(Machine(num_cores=2, memory_bytes=8 * 2**30)) == "2 CPU cores"
    ```
    """

    num_cores: int
    memory_bytes: int
    num_gpus: int = 0
    gpu_capability: int = 0

    @classmethod
    def this(cls) -> Machine:
        """Returns the machine that this process runs on. It loads TensorFlow and starts no device."""
        import tensorflow as tf

        from highnoon.models.memory import total_memory

        gpus = tf.config.list_physical_devices("GPU")
        capability = (
            tf.config.experimental.get_device_details(gpus[0]).get("compute_capability") if gpus else None
        )
        return cls(
            num_cores=_num_cores(),
            memory_bytes=total_memory(),
            num_gpus=len(gpus),
            gpu_capability=capability[0] if capability else 0,
        )

    @property
    def operations_per_second(self) -> float:
        """Floating point operations per second that training is expected to reach."""
        if not self.num_gpus:
            return CORE_OPERATIONS * min(self.num_cores, MOST_CORES)
        return self.num_gpus * next(speed for least, speed in GPU_OPERATIONS if self.gpu_capability >= least)

    def __str__(self) -> str:
        if self.num_gpus:
            return f"{self.num_gpus} GPU{'s' if self.num_gpus > 1 else ''}"
        return f"{self.num_cores} CPU core{'s' if self.num_cores > 1 else ''}"


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
