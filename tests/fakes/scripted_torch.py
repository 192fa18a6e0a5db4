"""A torch that says of itself what a test wants: which GPUs there are and what memory they have.

It stands for the module in `kizy.drawing.memory`; what makes tensors is the real one's.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

GIB = 2**30


class ScriptedTorch:
    """`gpu`: "cuda", "xpu", "mps" or None. `hip`: the version of ROCm that it was built with.

    `free`: bytes on the GPU; on MPS the limit, of which `taken` is used. `tells_free`: whether the
    driver of an XPU says how much is free. `emptied`: whose unused memory was given back.
    """

    device = torch.device
    float16, bfloat16, float32 = torch.float16, torch.bfloat16, torch.float32

    def __init__(
        self,
        gpu: str | None,
        *,
        hip: str | None = None,
        free: int = 16 * GIB,
        taken: int = 0,
        tells_free: bool = True,
    ) -> None:
        self.emptied: list[str] = []
        self._free, self._tells_free = free, tells_free
        self.version = SimpleNamespace(hip=hip, cuda=None if hip or gpu != "cuda" else "12.8")
        self.cuda = SimpleNamespace(
            is_available=lambda: gpu == "cuda",
            get_device_name=lambda _device: "AMD Radeon RX 7900 XT" if hip else "NVIDIA H200",
            mem_get_info=lambda _device: (free, 2 * free),
            empty_cache=lambda: self.emptied.append("cuda"),
        )
        self.xpu = SimpleNamespace(
            is_available=lambda: gpu == "xpu",
            get_device_name=lambda _device: "Intel(R) Arc(TM) A770 Graphics",
            mem_get_info=self._xpu_memory,
            get_device_properties=lambda _device: SimpleNamespace(total_memory=free + taken),
            memory_reserved=lambda _device: taken,
            empty_cache=lambda: self.emptied.append("xpu"),
        )
        self.backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: gpu == "mps"))
        self.mps = SimpleNamespace(
            recommended_max_memory=lambda: free,
            driver_allocated_memory=lambda: taken,
            empty_cache=lambda: self.emptied.append("mps"),
        )

    def _xpu_memory(self, _device: Any) -> tuple[int, int]:
        if not self._tells_free:
            raise RuntimeError("The device doesn't support querying the available free memory.")
        return self._free, 2 * self._free
