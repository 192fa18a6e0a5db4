from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from kizy.core.errors import CancelledError
from kizy.trainer.archives import Unreadable
from kizy.trainer.limits import Limits, never
from kizy.trainer.videos import clock, frames
from PIL import Image

av = pytest.importorskip("av")
FPS = 10


def scene(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.NEAREST)


def video(
    path: Path,
    pictures: list[Image.Image],
    *,
    codec: str = "mpeg4",
    turned: int = 0,
    ratio: Fraction | None = None,
) -> Path:
    """Each picture for one second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        for picture in pictures * 1:
            for _ in range(FPS):
                for packet in stream.encode(av.VideoFrame.from_image(picture)):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def read(path: Path, limits: Limits | None = None, told: list[str] | None = None) -> list:
    tell = told.append if told is not None else print
    return list(frames(path, limits or Limits(), never, tell))


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "mov"])
def test_frames_are_taken_evenly(tmp_path: Path, ending: str) -> None:
    scenes = [scene(seed) for seed in range(5)]
    found = read(video(tmp_path / f"a.{ending}", scenes))
    assert len(found) == 5
    for number, (frame, wanted) in enumerate(zip(found, scenes, strict=True)):
        assert number <= frame.seconds < number + 1.0
        assert difference(frame.picture, wanted) < 25


def test_a_long_video_gives_no_more_frames_than_allowed(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", [scene(seed) for seed in range(12)])
    found = read(path, Limits(video_frames=3))
    assert [int(frame.seconds) for frame in found] == [2, 6, 10]


def test_the_sharpest_frame_near_a_place_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    plain = Image.new("RGB", (96, 64), "grey")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(40):
            picture = scene(1) if number in (9, 19, 29, 39) else plain
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    assert all(difference(frame.picture, scene(1)) < 30 for frame in read(path))


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, turned: int) -> None:
    path = video(tmp_path / "a.mp4", [scene(1)] * 2, turned=turned)
    found = read(path)[0].picture
    wanted = scene(1).rotate(turned, expand=True)
    assert found.size == wanted.size
    assert difference(found, wanted) < 25


def test_pixels_are_made_square(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", [scene(1)] * 2, ratio=Fraction(2, 1))
    assert read(path)[0].picture.size == (192, 64)


def test_a_video_that_is_too_long_or_too_large_is_told(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", [scene(1)] * 3)
    with pytest.raises(Unreadable, match="longer than"):
        read(path, Limits(video_seconds=2.0))
    with pytest.raises(Unreadable, match="million pixels"):
        read(path, Limits(picture_pixels=96 * 64 - 1))


def test_reading_stops_when_it_takes_too_long(tmp_path: Path) -> None:
    told: list[str] = []
    path = video(tmp_path / "a.mp4", [scene(1)] * 2)
    assert read(path, Limits(video_work=-1.0), told) == []
    assert "takes too long" in told[0]


def test_a_playlist_is_no_video_whatever_it_is_called(tmp_path: Path) -> None:
    """FFmpeg would follow it to other files and addresses."""
    good = video(tmp_path / "good.mp4", [scene(1)] * 2)
    lists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{good}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {good}\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(Unreadable):
            read(tmp_path / name)


def test_a_video_that_is_cut_short_gives_what_there_is(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", [scene(seed) for seed in range(6)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert 1 <= len(read(path)) < 6


@pytest.mark.parametrize("data", [b"", bytes(5000), b"\0\0\0\x18ftypmp42" + b"\xff" * 4000])
def test_damaged_videos_are_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(Unreadable):
        read(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(Unreadable, match="moving picture"):
        read(path)


def test_reading_can_be_cancelled(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", [scene(1)] * 2)
    with pytest.raises(CancelledError):
        list(frames(path, Limits(), lambda: True, print))


def test_times_are_shown_as_on_a_player() -> None:
    assert [clock(x) for x in (0.4, 65, 3723)] == ["0:00", "1:05", "1:02:03"]
