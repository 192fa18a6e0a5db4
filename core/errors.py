"""The errors that people see: what happened, what to do, and a code that never changes.

    KizyError
    ├── InputError            what was asked for cannot be done as it stands (exit status 2)
    │   ├── UnknownNameError  a model, LoRA, style, size or file of that name is not here
    │   ├── PictureError      a picture cannot be used
    │   └── ModelFileError    a model or LoRA file cannot be used
    ├── EngineError           drawing failed (exit status 1)
    ├── HubError              a service that models come from did not do its part (exit status 1)
    ├── StorageError          a file could not be written or read (exit status 2)
    └── CancelledError        somebody stopped it (exit status 130)

Every code stands in `CODES` with its meaning and its fix; a test checks each `raise` against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class ErrorCode:
    """`meaning`: when it is raised. `fix`: what the person can do, if the raise says no better."""

    code: str
    error: str
    meaning: str
    fix: str


class KizyError(Exception):
    """Base of all errors that carry a code. `str(error)` is what happened, in plain words.

    `raw`: another program's own words about it, for `--debug`; never a key or a password.
    """

    exit_status: int = 1

    def __init__(
        self, code: str, message: str, *, fix: str | None = None, raw: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix if fix is not None else CODES[code].fix
        self.raw = raw

    def as_dict(self) -> dict[str, str]:
        """`code`, `message` and `fix`, for JSON."""
        return {"code": self.code, "message": self.message, "fix": self.fix}


class InputError(KizyError):
    """What was asked for cannot be done as it stands."""

    exit_status = 2


class UnknownNameError(InputError):
    """A name that nothing here answers to."""


class PictureError(InputError):
    """A picture that cannot be used."""


class ModelFileError(InputError):
    """A model or LoRA file that cannot be used."""


class EngineError(KizyError):
    """Drawing failed."""


class HubError(KizyError):
    """A service that models come from (Civitai, Hugging Face) did not do its part."""


class StorageError(KizyError):
    """A file could not be written or read."""

    exit_status = 2


class CancelledError(KizyError):
    """Somebody stopped the work."""

    exit_status = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """`Did you mean "x"?`, or the list of what there is; empty if there is nothing."""
    names = sorted(set(known))
    by_lower = {known_name.lower(): known_name for known_name in names}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f'Did you mean "{by_lower[close[0]]}"?'
    if not names:
        return ""
    shown = ", ".join(names[:12])
    return f"There is: {shown}{', …' if len(names) > 12 else ''}."


_TABLE = [
    (
        "prompt_empty",
        "InputError",
        "The prompt has no words.",
        'Say what you want to see, for example: kizy generate "a red fox on a blue background"',
    ),
    (
        "prompt_too_long",
        "InputError",
        "The prompt or negative prompt is over 10,000 characters.",
        "Shorten it: models read a few hundred words at most.",
    ),
    (
        "size_invalid",
        "InputError",
        "The size is neither a known word nor WIDTHxHEIGHT in range.",
        "Give a word like square, portrait or landscape, or WIDTHxHEIGHT such as 512x512.",
    ),
    (
        "request_invalid",
        "InputError",
        "A value of the request is out of range or of a wrong kind.",
        "Change the value named in the message.",
    ),
    (
        "feature_unavailable",
        "InputError",
        "The engine or model cannot do what was asked.",
        "Leave the option out, or use another engine or model.",
    ),
    (
        "model_unknown",
        "UnknownNameError",
        "No model of that name is installed here.",
        "`kizy models` lists what is installed; without a server a folder's path works too.",
    ),
    (
        "name_ambiguous",
        "InputError",
        "Several models or LoRAs answer to the name.",
        "Give one of the names in the message, as it stands there.",
    ),
    (
        "lora_unknown",
        "UnknownNameError",
        "No LoRA of that name is in the LoRA folders.",
        "Put the .safetensors file into the folder that `kizy doctor` shows; without a server its"
        " path works too.",
    ),
    (
        "style_unknown",
        "UnknownNameError",
        "The style is not one that Kizy knows.",
        "Leave it out, or name one of the styles in the message.",
    ),
    (
        "family_unknown",
        "UnknownNameError",
        "No family of that name is in the catalog.",
        "Use one of the names in the message.",
    ),
    (
        "file_missing",
        "UnknownNameError",
        "A file or folder that was named is not there.",
        "Check the path.",
    ),
    (
        "picture_unreadable",
        "PictureError",
        "The file is no picture, or it is damaged.",
        "Give a picture: PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF or HEIC.",
    ),
    (
        "picture_too_large",
        "PictureError",
        "The picture has more pixels or bytes than is allowed.",
        "Make it smaller first: 64 megapixels and 256 MB are the limits.",
    ),
    (
        "mask_unusable",
        "PictureError",
        "The mask marks nothing, or fits no start picture.",
        "Paint what should change in white on black, on a picture of the same shape.",
    ),
    (
        "plan_missing",
        "PictureError",
        "The picture holds no Plan of Kizy.",
        "Use a PNG that Kizy drew and no other program saved again.",
    ),
    (
        "plan_invalid",
        "PictureError",
        "The Plan in the picture is damaged or of a newer Kizy.",
        "Update Kizy, or draw it again with `kizy generate`.",
    ),
    (
        "model_file_damaged",
        "ModelFileError",
        "A model file is cut short or not what it says.",
        "Download it again: it is cut short or damaged.",
    ),
    (
        "model_file_pickled",
        "ModelFileError",
        "A model file is in the pickle format.",
        "Get the .safetensors form of it: pickled files can run code, so Kizy opens none.",
    ),
    (
        "model_folder_invalid",
        "ModelFileError",
        "The folder is no diffusers model that Kizy draws.",
        "Give a diffusers folder (with model_index.json) of Stable Diffusion 1.5 or SDXL.",
    ),
    (
        "lora_other_family",
        "ModelFileError",
        "The LoRA was made for another model family.",
        "Pick a LoRA of the model's family, or a model of the LoRA's family.",
    ),
    (
        "model_family_unknown",
        "ModelFileError",
        "The model on the wire is of no family that Kizy knows.",
        "Use a model of one of the families in the message, or ComfyUI's own nodes for LoRAs.",
    ),
    (
        "lora_form_unknown",
        "ModelFileError",
        "The LoRA is of a kind that Kizy cannot apply (LoHa, LoKr, DoRA, ...).",
        "Use a plain LoRA (lora_up and lora_down), or draw with ComfyUI, which applies all kinds.",
    ),
    (
        "settings_invalid",
        "InputError",
        "kizy.toml or a KIZY_ variable cannot be understood.",
        "Correct the setting that the message names.",
    ),
    (
        "local_missing",
        "EngineError",
        "The libraries for drawing on this machine are missing.",
        'Install them: python -m pip install "kizy[local]"',
    ),
    (
        "out_of_memory",
        "EngineError",
        "Memory did not suffice, even after every saving.",
        "Choose a smaller size or model, or close other programs.",
    ),
    (
        "drawing_failed",
        "EngineError",
        "The engine stopped with an error that Kizy does not know.",
        "Try again with --debug and report what it prints.",
    ),
    (
        "disk_full",
        "StorageError",
        "There is no space left where Kizy wants to write.",
        "Free some space, or choose another folder with --out or KIZY_HOME.",
    ),
    (
        "folder_not_writable",
        "StorageError",
        "Kizy may not write into a folder.",
        "Choose another folder with --out or KIZY_HOME, or change its permissions.",
    ),
    (
        "server_unknown",
        "UnknownNameError",
        "No ComfyUI server of that name is in the settings.",
        "`kizy servers` lists them; an address such as http://127.0.0.1:8188 works too.",
    ),
    (
        "server_unreachable",
        "EngineError",
        "A ComfyUI server does not answer.",
        "Start ComfyUI there, or correct its address in kizy.toml; `kizy servers` shows all.",
    ),
    (
        "server_refused",
        "EngineError",
        "A server wants a key, or refused the one it got.",
        "Set the server's `key`, or `user` and `password`, in kizy.toml.",
    ),
    (
        "server_too_old",
        "EngineError",
        "A ComfyUI server lacks what Kizy needs.",
        "Update ComfyUI there to 0.3.64 or newer.",
    ),
    (
        "server_node_missing",
        "EngineError",
        "A server lacks a node that the drawing needs.",
        "Install the node pack that the message names with ComfyUI-Manager, then restart ComfyUI.",
    ),
    (
        "server_model_missing",
        "EngineError",
        "A server lacks a model file that the drawing needs.",
        "Put the file into the folder that the message names on that server.",
    ),
    (
        "server_disk_full",
        "EngineError",
        "There is no space left on the server.",
        "Free some space on the machine that ComfyUI runs on.",
    ),
    (
        "server_failed",
        "EngineError",
        "ComfyUI stopped with an error that Kizy does not know.",
        "Try again with --debug: it shows ComfyUI's own words.",
    ),
    (
        "server_lost",
        "EngineError",
        "A job vanished with its server, and the second try as well.",
        "See why ComfyUI stops there: `kizy comfy logs` shows it for servers that Kizy started.",
    ),
    (
        "server_stuck",
        "EngineError",
        "A server answers, but nothing runs on it any more.",
        "Restart ComfyUI there; `kizy comfy start` watches over its own and restarts them.",
    ),
    (
        "comfyui_folder_invalid",
        "InputError",
        "The folder is no ComfyUI.",
        "Name the folder that holds ComfyUI's main.py.",
    ),
    (
        "comfyui_not_started",
        "EngineError",
        "ComfyUI was started and ended, or did not answer in time.",
        "`kizy comfy logs` shows what it said.",
    ),
    (
        "template_invalid",
        "EngineError",
        "A workflow template cannot be used.",
        "Install Kizy again, or correct the file that the message names.",
    ),
    (
        "hub_unreachable",
        "HubError",
        "Civitai or Hugging Face does not answer, or asks to wait for too long.",
        "Check the connection and try again later: a download goes on where it stopped.",
    ),
    (
        "hub_wants_key",
        "HubError",
        "Civitai or Hugging Face wants a key, or refused the one it got.",
        "Set CIVITAI_API_KEY or HF_TOKEN to a key from your account there.",
    ),
    (
        "hub_failed",
        "HubError",
        "Civitai or Hugging Face answered with what Kizy does not understand.",
        "Try again with --debug: it shows the service's own words.",
    ),
    (
        "hub_unknown",
        "UnknownNameError",
        "Civitai or Hugging Face has nothing at that address.",
        "Open the address in a browser: it may be wrong, private or taken down.",
    ),
    (
        "adult_content",
        "InputError",
        "The file is marked as adult content, which is off.",
        "Choose another one, or allow adult content in the settings.",
    ),
    (
        "download_refused",
        "InputError",
        "Kizy does not download files like this one.",
        "Choose a .safetensors file of a model or LoRA.",
    ),
    (
        "download_damaged",
        "HubError",
        "What arrived is not what was announced.",
        "Try again; if it stays so, the file is damaged at its source.",
    ),
    (
        "confirmation_needed",
        "InputError",
        "A download waits for a yes, and there is nobody to ask.",
        "Add --yes if you want it; what would be downloaded is said above.",
    ),
    (
        "file_exists",
        "InputError",
        "Another file of that name is in the folder.",
        "Rename one of the two files.",
    ),
    (
        "archive_unusable",
        "InputError",
        "A zip file is damaged, locked, or made to do harm.",
        "Pack the pictures into a new zip without a password, or hand in their folder.",
    ),
    (
        "pictures_too_many",
        "InputError",
        "A folder or zip file holds more files than a data set may.",
        "Hand in fewer: some dozens of good pictures teach more than thousands.",
    ),
    (
        "pictures_none",
        "InputError",
        "None of the files that were handed in can be learned from.",
        "Give pictures (PNG, JPEG, WebP, ...), a folder or zip of them, or a video.",
    ),
    (
        "dataset_invalid",
        "InputError",
        "A training's folder holds no whole data set.",
        "Start the training anew with `kizy train` and your pictures.",
    ),
    (
        "launch_failed",
        "EngineError",
        "Another Python interpreter could not be started.",
        "Check the interpreter's path in the settings.",
    ),
    (
        "trainer_cannot",
        "InputError",
        "No engine can train that model on this machine.",
        "Train another model: --base starter works everywhere.",
    ),
    (
        "base_part_missing",
        "InputError",
        "A file that the base model needs for training is not there.",
        "Put the file beside the model, or into Kizy's models folder.",
    ),
    (
        "kohya_invalid",
        "InputError",
        "kohya's sd-scripts are not set up, or cannot be used as they are.",
        "Name the folder and its Python in kizy.toml: [trainer] kohya and kohya_interpreter.",
    ),
    (
        "kohya_failed",
        "EngineError",
        "sd-scripts stopped with an error that Kizy does not know.",
        "Try again with --debug: it shows the program's own words.",
    ),
    (
        "training_failed",
        "EngineError",
        "A training stopped with an error that Kizy does not know.",
        "`kizy train --resume` goes on; if it fails again, report what --debug prints.",
    ),
    (
        "training_killed",
        "EngineError",
        "A training was ended from outside, as the system does when memory runs out.",
        "Close other programs; `kizy train --resume` goes on from what was saved.",
    ),
    (
        "training_diverged",
        "EngineError",
        "The loss of a training is no number any more.",
        "Train anew with a lower --rank or without --steps, so that Kizy chooses.",
    ),
    (
        "training_unknown",
        "UnknownNameError",
        "There is no such training to go on with.",
        "Start one: kizy train PICTURES --name NAME",
    ),
    (
        "training_running",
        "InputError",
        "That training runs already.",
        "Wait for it; it goes on although nobody looks.",
    ),
    (
        "training_base_changed",
        "InputError",
        "The model that a training began with is another file now.",
        "Put the old file back, or begin anew: kizy train PICTURES --name NAME",
    ),
    (
        "job_unknown",
        "UnknownNameError",
        "There is no such job, or it belongs to somebody else.",
        "`kizy jobs` lists yours.",
    ),
    (
        "job_not_over",
        "InputError",
        "Only a job that failed or was cancelled can be tried again.",
        "Wait for it, or cancel it first.",
    ),
    (
        "job_not_waiting",
        "InputError",
        "The job has begun, or is over: its place in the queue cannot change.",
        "Cancel it, or let it end.",
    ),
    (
        "queue_full",
        "EngineError",
        "As many jobs wait as the queue holds.",
        "Try again when some of them are done.",
    ),
    (
        "deadline_passed",
        "EngineError",
        "The job was not done by its deadline.",
        "Give it more time, or a higher priority.",
    ),
    (
        "idempotency_conflict",
        "InputError",
        "The idempotency key was used before, with another request.",
        "Use a new key for a new request.",
    ),
    (
        "artifact_unknown",
        "UnknownNameError",
        "There is no such file, or it belongs to somebody else.",
        "The job's `artifacts` name its files.",
    ),
    (
        "artifact_gone",
        "UnknownNameError",
        "The file was removed: files are kept as long as the settings say.",
        "Draw it again: the job's Plan has all that it takes.",
    ),
    (
        "upload_unknown",
        "UnknownNameError",
        "No file of that id was handed over, or it was removed since.",
        "Upload the file first, and name it by the id of the answer.",
    ),
    (
        "upload_too_large",
        "InputError",
        "The file or the request is larger than is allowed.",
        "Make it smaller, or raise the limit in the settings.",
    ),
    (
        "key_missing",
        "InputError",
        "The server wants a key.",
        "Send it as `Authorization: Bearer KEY`; `kizy keys add NAME` makes one.",
    ),
    (
        "key_wrong",
        "InputError",
        "The key is none of the server's, or it was withdrawn.",
        "Check it, or make a new one: kizy keys add NAME",
    ),
    (
        "not_allowed",
        "InputError",
        "The key may not do that.",
        "Ask whoever runs the server for a key that may: kizy keys add NAME --admin",
    ),
    (
        "origin_refused",
        "InputError",
        "Without a key only this machine itself is answered, by its own address.",
        "Call the server by the address that it listens on, or with a key.",
    ),
    (
        "link_ended",
        "InputError",
        "The link to the file has ended, or it was changed on its way.",
        "Ask for the job again, which gives a new link, or fetch the file with a key.",
    ),
    (
        "key_unknown",
        "UnknownNameError",
        "No key of that name or id was made, or it was withdrawn already.",
        "`kizy keys list` shows the keys.",
    ),
    (
        "upload_too_slow",
        "InputError",
        "A request's body came in too slowly.",
        "Send it again; a proxy before the server can take it in at its own pace.",
    ),
    (
        "path_refused",
        "InputError",
        "A file was named by a path or address that may not be used here.",
        "Give the picture's content or its id; `kizy mcp --allow FOLDER` opens a folder.",
    ),
    (
        "page_missing",
        "EngineError",
        "The files of the page that shows the API are not installed.",
        "python -m pip install fastapi-offline; /openapi.json has the same as a document.",
    ),
    (
        "route_unknown",
        "UnknownNameError",
        "The server has nothing at that address, or not for that method.",
        "GET /openapi.json lists all that can be asked for.",
    ),
    (
        "server_mistake",
        "EngineError",
        "Kizy's server made a mistake.",
        "Try again; the server's log says what went wrong, which is worth a report.",
    ),
    (
        "address_unusable",
        "InputError",
        "The server cannot listen on that address.",
        "Choose another one with --host and --port, or stop what listens there.",
    ),
    (
        "database_unusable",
        "StorageError",
        "The database of jobs cannot be opened, read or written.",
        "Check KIZY_DATABASE_URL, the folder's rights and the disk; nothing was deleted.",
    ),
    (
        "server_stopping",
        "EngineError",
        "The server is being stopped, and accepts nothing new.",
        "Try again when it is back.",
    ),
    (
        "server_runs_already",
        "InputError",
        "A Kizy server runs already on this database.",
        "Use that one, or give the new one a KIZY_HOME or KIZY_DATABASE_URL of its own.",
    ),
    (
        "library_missing",
        "EngineError",
        "Something that this needs is not installed.",
        "Install what the message names.",
    ),
    (
        "cancelled",
        "CancelledError",
        "The work was stopped by its owner.",
        "Start it again when you like; what was saved stays.",
    ),
]

CODES: dict[str, ErrorCode] = {row[0]: ErrorCode(*row) for row in _TABLE}
"""Every code with its meaning and fix. Codes never change; new ones may come."""


def exit_status(code: str) -> int:
    """The exit status of a command that ends with this code."""
    kinds: list[type[KizyError]] = [KizyError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return next((k.exit_status for k in kinds if k.__name__ == CODES[code].error), 1)
