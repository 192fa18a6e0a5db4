"""The extension that ComfyUI loads: Kizy's nodes, each named here."""

from __future__ import annotations

from ._host import ComfyExtension, io


class KizyExtension(ComfyExtension):
    """Lists Kizy's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        from .detailer import KizyDetailer
        from .lora_by_intent import KizyLoraByIntent
        from .save import KizySave
        from .train_lora import KizyTrainLora

        return [KizyLoraByIntent, KizyTrainLora, KizyDetailer, KizySave]
