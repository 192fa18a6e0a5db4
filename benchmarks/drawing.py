"""Drawing a Plan with nobody watching, for the benchmarks."""

from __future__ import annotations

from kizy.core.plan import Plan
from kizy.drawing.cancel import CancelToken
from kizy.drawing.drawer import Drawer
from PIL import Image


class Silent:
    """A listener that does nothing."""

    def progress(self, fraction: float, doing: str, left: float | None) -> None: ...

    def preview(self, index: int, picture: Image.Image) -> None: ...

    def notice(self, code: str, text: str) -> None: ...


def draw(drawer: Drawer, plan: Plan) -> Image.Image:
    """The one picture of a Plan."""
    pictures: list[Image.Image] = []
    drawer.draw(
        plan,
        cancel=CancelToken(),
        report=Silent(),
        deliver=lambda _index, picture: pictures.append(picture),
    )
    return pictures[0]
