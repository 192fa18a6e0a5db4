"""The LoRA while it is trained: peft's modules inside the UNet (and the text encoders)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..lora_file import Pair, Part

if TYPE_CHECKING:
    from ..plan import TrainingPlan

ADAPTER = "kizy"

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "time_emb_proj")

# Of Stable Diffusion what sd-scripts trains (networks/lora.py, UNET_TARGET_REPLACE_MODULE and
# TEXT_ENCODER_TARGET_REPLACE_MODULE): all linear layers of the transformer blocks, with their
# projections. The starter is so small that its convolutions hold much of what a style is.
TARGETS: dict[str, tuple[str, ...]] = {
    "starter": (*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS),
    "sd15": (*ATTENTION, *FEED_FORWARD),
    "sdxl": (*ATTENTION, *FEED_FORWARD),
}
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class Adapter:
    """Adds trainable modules to networks and gives them out by part and path.

    `networks`: what is trained; everything but the new modules is frozen. The first matrices are
    drawn from the plan's seed, the second ones begin at zero.
    """

    def __init__(self, networks: Mapping[Part, torch.nn.Module], plan: TrainingPlan) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        self.networks = networks
        state = torch.get_rng_state()
        torch.manual_seed(plan.seed)
        try:
            for part, network in networks.items():
                targets = TARGETS[plan.family] if part == "unet" else TEXT_TARGETS
                network.requires_grad_(False)
                config = LoraConfig(
                    r=plan.rank,
                    lora_alpha=plan.alpha,  # pyright: ignore[reportArgumentType]
                    target_modules=list(targets),
                    lora_dropout=0.0,
                    bias="none",
                )
                inject_adapter_in_model(config, network, adapter_name=ADAPTER)
        finally:
            torch.set_rng_state(state)
        for _, parameter in self._parameters():
            # Half precision would lose the small steps.
            parameter.data = parameter.data.float()

    def groups(self, plan: TrainingPlan) -> list[dict[str, Any]]:
        """The optimizer's groups: the text encoders have a learning rate of their own."""
        rates = {"unet": plan.learning_rate}
        groups = []
        for part in self.networks:
            rate = rates.get(part, plan.text_encoder_learning_rate)
            found = [value for (where, _), value in self._parameters() if where == part]
            groups.append({"params": found, "lr": rate})
        return groups

    def parameters(self) -> list[torch.nn.Parameter]:
        """All that is trained, always in the same order."""
        return [parameter for _, parameter in self._parameters()]

    def state(self) -> dict[str, torch.Tensor]:
        """What is trained, by a name of its own."""
        return {f"{part}.{name}": value for (part, name), value in self._parameters()}

    @torch.no_grad()
    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up what `state` gave. Raises KeyError if it is of another training."""
        for name, parameter in self.state().items():
            parameter.copy_(state[name])

    def pairs(self) -> dict[tuple[Part, str], Pair]:
        """The matrices by part and by the path of the module that they change."""
        values = self.state()
        down, up = f".lora_A.{ADAPTER}.weight", f".lora_B.{ADAPTER}.weight"
        found: dict[tuple[Part, str], Pair] = {}
        for part in self.networks:
            for name, value in values.items():
                if name.startswith(part + ".") and name.endswith(down):
                    module = name.removesuffix(down)
                    path = module.removeprefix(part + ".")
                    found[part, path] = Pair(down=value, up=values[module + up])
        return found

    def _parameters(self) -> Iterator[tuple[tuple[Part, str], torch.nn.Parameter]]:
        for part, network in self.networks.items():
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    yield (part, name), parameter
