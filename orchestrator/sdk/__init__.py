"""Kizy from Python: `from kizy.orchestrator.sdk import Kizy`."""

from __future__ import annotations

from ...core.errors import (
    CancelledError,
    EngineError,
    HubError,
    InputError,
    KizyError,
    ModelFileError,
    PictureError,
    StorageError,
    UnknownNameError,
)
from ...core.job import (
    EndEvent,
    ErrorInfo,
    Job,
    JobArtifact,
    JobArtifactEvent,
    JobEvent,
    JobKind,
    JobState,
    Notice,
    NoticeEvent,
    PreviewEvent,
    ProgressEvent,
    StateEvent,
)
from ...core.plan import Plan, Reason
from ...core.request import (
    Control,
    Enlarge,
    GenerationRequest,
    Improve,
    LoraChoice,
    Mask,
    StartPicture,
    TrainingRequest,
)
from ..service import (
    FamilyInfo,
    LoraInfo,
    ModelInfo,
    QueueState,
    ServerInfo,
    StyleInfo,
    TemplateInfo,
    Upload,
)
from .files import File, Picture
from .handles import JobHandle
from .kizy import Kizy
from .remote.timeouts import Timing

__all__ = [
    "CancelledError",
    "Control",
    "EndEvent",
    "EngineError",
    "Enlarge",
    "ErrorInfo",
    "FamilyInfo",
    "File",
    "GenerationRequest",
    "HubError",
    "Improve",
    "InputError",
    "Job",
    "JobArtifact",
    "JobArtifactEvent",
    "JobEvent",
    "JobHandle",
    "JobKind",
    "JobState",
    "Kizy",
    "KizyError",
    "LoraChoice",
    "LoraInfo",
    "Mask",
    "ModelFileError",
    "ModelInfo",
    "Notice",
    "NoticeEvent",
    "Picture",
    "PictureError",
    "Plan",
    "PreviewEvent",
    "ProgressEvent",
    "QueueState",
    "Reason",
    "ServerInfo",
    "StartPicture",
    "StateEvent",
    "StorageError",
    "StyleInfo",
    "TemplateInfo",
    "Timing",
    "TrainingRequest",
    "UnknownNameError",
    "Upload",
]
