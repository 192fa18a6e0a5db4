"""sd-scripts' and accelerate's last words, in plain ones."""

from __future__ import annotations

import re

from ...core.errors import EngineError, InputError, KizyError, ModelFileError
from ..deaths import explain_known, last_cause

_ARGUMENTS = re.compile(r"unrecognized arguments: ([^\n]+)|invalid choice: ([^\n]+)")
_SCHEMA = re.compile(r"voluptuous\.error\.\w+: ([^\n]+)|Invalid user config[^\n]*")
_MODEL = re.compile(
    r"SafetensorError|HeaderTooLarge|MetadataIncompleteBuffer|Missing key\(s\) in state_dict"
    r"|size mismatch for|Error\(s\) in loading state_dict"
)
_TOKENIZER = re.compile(
    r"Can't load tokenizer|LocalEntryNotFoundError|couldn't connect to|OfflineModeIsEnabled"
    r"|Cannot reach|outgoing traffic has been disabled"
)
_NO_HALF = re.compile(r"(fp16|bf16) mixed precision requires")
_NO_PICTURES = re.compile(r"No data found\.|画像がありません")
MAX_RAW = 4000


def explain_kohya(status: int | None, output: str) -> KizyError:
    """The error of sd-scripts that ended with `status` and said `output`."""
    raw = output[-MAX_RAW:]
    known = explain_known(output)
    if known is not None and known.code != "local_missing":
        return known
    if known is not None:
        message = known.message.removesuffix(".") + ": it is sd-scripts' own."
        fix = "Install sd-scripts' requirements.txt there, or name its own interpreter."
        return InputError("kohya_invalid", message, fix=fix, raw=raw)
    if found := _ARGUMENTS.search(output):
        message = f"This sd-scripts does not know an option: {found.group(1) or found.group(2)}."
        return InputError("kohya_invalid", message, fix="Update sd-scripts to 0.10.", raw=raw)
    if found := _SCHEMA.search(output):
        message = f"sd-scripts refused the data set's file: {found.group(1) or found.group(0)}."
        return InputError("kohya_invalid", message, fix="Update sd-scripts to 0.10.", raw=raw)
    if found := _NO_HALF.search(output):
        message = (
            f"The training was planned for a GPU, in {found.group(1)}, and sd-scripts finds none "
            "that computes in it."
        )
        fix = "See to the GPU's driver and --resume, or train anew: then it is planned anew."
        return EngineError("kohya_failed", message, fix=fix, raw=raw)
    if _TOKENIZER.search(output):
        message = "sd-scripts could not get the model's tokenizer from Hugging Face."
        fix = "Connect to the internet for the first training: it is kept after that."
        return EngineError("kohya_failed", message, fix=fix, raw=raw)
    if _MODEL.search(output):
        message = f"sd-scripts cannot read the base model: {last_cause(output)}"
        return ModelFileError("model_file_damaged", message, raw=raw)
    if _NO_PICTURES.search(output):
        message = "sd-scripts found no pictures."
        return EngineError("kohya_failed", message, raw=raw)
    if status is not None and (status < 0 or "died with <Signals.SIGKILL" in output):
        message = "sd-scripts was ended from outside, as the system does when memory runs out."
        return EngineError("training_killed", message, raw=raw)
    return EngineError("kohya_failed", f"sd-scripts stopped: {last_cause(output)}", raw=raw)
