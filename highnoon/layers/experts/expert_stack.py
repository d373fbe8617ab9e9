"""The kernels of all experts of a mixture, and the products of tokens with the chosen ones."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.layers.configured_layer import ConfiguredLayer
from highnoon.layers.experts.buffered_experts import buffered_experts

_KERNELS = ("gate_kernel", "up_kernel", "down_kernel")


@keras.saving.register_keras_serializable(package="highnoon")
class ExpertStack(ConfiguredLayer):
    """Stacked SwiGLU feed-forwards, of which each token passes its own.

    ```
    y[n, j] = (silu(x[n] Wg_e) * (x[n] Wu_e)) Wd_e   with e = expert_ids[n, j]
    ```

    `quantize("int8")` stores each kernel as int8 with one scale for each expert and output channel.

    Args:
        num_experts: Experts.
        expert_dim: Inner width of one expert.
        kernel_initializer: Of each expert's gate and up kernels.
        output_initializer: Of each expert's down kernel; None takes `kernel_initializer`.

    Inputs:
        x (b, t, d); expert_ids (b, t, k), `num_experts` for none; positions (b, t, k), each choice's
        position among its row's choices of that expert, for static shapes, and capacity, how many slots
        a row has at one expert, or None for as many as it takes; without positions the experts take
        slices of dynamic size (TensorFlow outside XLA).
    Returns:
        (b, t, k, d), zeros where there is no expert.

    Example:

    ```python
    import numpy as np
    from highnoon.layers.experts.expert_stack import ExpertStack

    ids = np.array([[[0], [1], [0]]])
    y = ExpertStack(2, 16)(np.ones((1, 3, 8), "float32"), ids, np.array([[[0], [0], [1]]]))
    ```
    """

    def __init__(
        self,
        num_experts: int,
        expert_dim: int,
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.num_experts = num_experts
        self.expert_dim = expert_dim
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width = x_shape[-1]
        inward = (self.num_experts, width, self.expert_dim)
        self.shapes = (inward, inward, (self.num_experts, self.expert_dim, width))
        if self.quantization_mode:
            self.quantized_build(x_shape, self.quantization_mode)
            return
        for name, shape in zip(_KERNELS, self.shapes, strict=True):
            is_output = name == "down_kernel" and self.output_initializer is not None
            initializer = self.output_initializer if is_output else self.kernel_initializer
            setattr(self, name, self.add_weight(shape, initializer=_for_each(initializer), name=name))

    def call(self, x, expert_ids, positions=None, capacity=None):
        return self._run(x, expert_ids, positions, capacity, [getattr(self, name) for name in _KERNELS])

    def _int8_call(self, x, expert_ids, positions=None, capacity=None):
        kernels = [
            ops.cast(getattr(self, name), self.compute_dtype)
            / ops.cast(getattr(self, f"{name}_scale"), self.compute_dtype)
            for name in _KERNELS
        ]
        return self._run(x, expert_ids, positions, capacity, kernels)

    def _run(self, x, expert_ids, positions, capacity, kernels):
        kernels = [ops.convert_to_tensor(kernel) for kernel in kernels]
        expert_ids = ops.cast(expert_ids, "int32")
        if positions is not None:
            return buffered_experts(x, expert_ids, ops.cast(positions, "int32"), kernels, capacity)
        from highnoon.layers.experts.sorted_experts import sorted_experts

        return sorted_experts(x, expert_ids, *kernels)

    def quantized_build(self, x_shape, mode) -> None:
        if mode != "int8":
            raise self._quantization_mode_error(mode)
        for name, shape in zip(_KERNELS, self.shapes, strict=True):
            kernel = self.add_weight(shape, "zeros", dtype="int8", trainable=False, name=name)
            scale = self.add_weight((shape[0], 1, shape[2]), "ones", trainable=False, name=f"{name}_scale")
            setattr(self, name, kernel)
            setattr(self, f"{name}_scale", scale)
        self._is_quantized = True

    def quantize(self, mode=None, type_check=True, config=None) -> None:
        if mode != "int8":
            raise self._quantization_mode_error(mode)
        quantized = []
        for name in _KERNELS:
            quantized.append(keras.quantizers.abs_max_quantize(getattr(self, name), axis=1, to_numpy=True))
            delattr(self, name)
        self.quantized_build(None, mode)
        for name, (value, scale) in zip(_KERNELS, quantized, strict=True):
            getattr(self, name).assign(value)
            getattr(self, f"{name}_scale").assign(scale)
        self.dtype_policy = keras.dtype_policies.get(f"{mode}_from_{self.dtype_policy.name}")

    def compute_output_spec(self, x, expert_ids, positions=None, capacity=None):
        return keras.KerasTensor((*expert_ids.shape, x.shape[-1]), dtype=self.compute_dtype)


def _for_each(initializer):
    """One kernel for each expert, each initialized by its own fans and with its own seed."""

    def initialize(shape, dtype=None):
        return ops.stack(
            [
                initializer.__class__.from_config(initializer.get_config())(shape[1:], dtype=dtype)
                for _ in range(shape[0])
            ]
        )

    return initialize
