"""Models that stay loaded between drawings; the least recently used goes when memory is short."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch

from .memory import RESERVE, free_bytes, release
from .model import DrawModel


class ModelCache:
    """Keyed by what makes a loaded model different: name, path, device.

    Of each key one is kept, as its files were when it was loaded.
    """

    def __init__(self, free: Callable[[torch.device], int] = free_bytes) -> None:
        self._models: OrderedDict[tuple[str, ...], DrawModel] = OrderedDict()
        self._states: dict[tuple[str, ...], str] = {}
        self._free = free

    def get(
        self,
        key: tuple[str, ...],
        needed: int,
        device: torch.device,
        load: Callable[[], DrawModel],
        state: str = "",
    ) -> DrawModel:
        """The model of that key; loaded with `load` after making room for `needed` bytes.

        `state`: of its files. In another one it is loaded anew.
        """
        if key in self._models and self._states[key] != state:
            self.drop(self._models[key])
        if key in self._models:
            self._models.move_to_end(key)
            return self._models[key]
        while self._models and needed > RESERVE * self._free(device):
            self.drop_oldest()
        model = load()
        self._models[key], self._states[key] = model, state
        return model

    def drop_oldest(self) -> bool:
        """Unload the least recently used model; False if none is loaded."""
        if not self._models:
            return False
        _key, model = self._models.popitem(last=False)
        model.unload()
        del model
        release()
        return True

    def drop(self, model: DrawModel) -> None:
        """Unload one model."""
        for key, loaded in list(self._models.items()):
            if loaded is model:
                del self._models[key]
        model.unload()
        release()

    def keep_only(self, model: DrawModel) -> bool:
        """Unload every other model; whether there was any."""
        others = [loaded for loaded in self._models.values() if loaded is not model]
        for other in others:
            self.drop(other)
        return bool(others)
