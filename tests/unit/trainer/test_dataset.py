"""From what an artist hands in to a data set in the run's folder."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kizy.core.errors import CancelledError, InputError
from kizy.core.request import TrainingRequest
from kizy.trainer.dataset import DataSet, build, load
from kizy.trainer.limits import Limits
from PIL import Image, ImageFilter, ImageOps


def photo(seed: int, size: tuple[int, int] = (200, 160)) -> Image.Image:
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = random.normal(0, 12, (size[1], size[0], 1))
    return Image.fromarray(np.clip(picture + grain, 0, 255).astype(np.uint8))


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def photos(count: int) -> dict[str, bytes]:
    return {f"{number}.png": png(photo(number)) for number in range(count)}


def request(*files: Path, **changes: Any) -> TrainingRequest:
    values = {"files": [str(file) for file in files], "name": "Mimi the cat", "about": "a tabby"}
    return TrainingRequest.model_validate({**values, **changes})


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dropped(data: DataSet) -> dict[str, str]:
    return {entry.source: entry.why for entry in data.dropped}


def test_a_zip_becomes_pictures_captions_and_a_report(tmp_path: Path) -> None:
    files = {**photos(3), "1.txt": b"a cat on a sofa"}
    folder = tmp_path / "run"
    data = build(request(zipped(tmp_path / "a.zip", files)), folder)
    assert left_in(folder) == ["dataset.json", "pictures", "report.png"]
    assert [e.caption for e in data.examples] == [
        "mimicat, a tabby",
        "mimicat, a cat on a sofa",
        "mimicat, a tabby",
    ]
    assert data.captions_from == "mixed"
    assert load(folder) == data
    for number, example in enumerate(data.examples, 1):
        path = folder / "pictures" / example.picture
        assert example.picture == f"{number:04d}.png"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == example.sha256
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.size == (example.width, example.height) == (200, 160)
            assert np.array_equal(np.asarray(picture), np.asarray(photo(number - 1)))
    assert data.bytes == sum(p.stat().st_size for p in (folder / "pictures").iterdir())


def test_alpha_is_kept(tmp_path: Path) -> None:
    picture = photo(1).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 50, 50))
    data = build(request(zipped(tmp_path / "a.zip", {"a.png": png(picture)})), tmp_path / "run")
    assert data.examples[0].has_alpha
    with Image.open(tmp_path / "run" / "pictures" / "0001.png") as saved:
        assert saved.mode == "RGBA"


def test_everything_that_is_not_used_is_named_with_its_reason(tmp_path: Path) -> None:
    files = {
        **photos(2),
        "../evil.png": png(photo(5)),
        "small.png": png(photo(6).resize((40, 30))),
        "cut.png": png(photo(7))[:-9000],
        "same.png": png(photo(1)),
        "near.png": png(photo(1).resize((180, 144))),
        "notes.pdf": b"%PDF",
        "inner.zip": b"PK\x03\x04",
    }
    found = dropped(build(request(zipped(tmp_path / "a.zip", files)), tmp_path / "run"))
    assert found["../evil.png"] == "has a name that leads out of the archive"
    assert "too small (40 x 30" in found["small.png"]
    assert found["cut.png"] == "is cut short: copy or download it again"
    assert found["same.png"] == "is the same file as 1.png"
    assert found["near.png"] == "is nearly the same as another: 1.png"
    assert "PDF" in found["notes.pdf"]
    assert "archive" in found["inner.zip"]
    assert len(found) == 7
    assert not (tmp_path / "evil.png").exists()


def test_of_near_duplicates_the_larger_stays_with_the_caption_of_the_other(tmp_path: Path) -> None:
    files = {"a.png": png(photo(1)), "a.txt": b"asleep", "b.png": png(photo(1, (400, 320)))}
    small = photo(1, (400, 320)).resize((200, 160))
    files["a.png"] = png(small)
    data = build(request(zipped(tmp_path / "a.zip", files)), tmp_path / "run")
    assert [(e.source, e.caption) for e in data.examples] == [("b.png", "mimicat, asleep")]
    assert dropped(data) == {"a.png": "is nearly the same as another: b.png"}
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 1


@pytest.mark.parametrize(("count", "held_out"), [(7, 0), (8, 1), (20, 2), (24, 3)])
def test_about_one_in_eight_is_held_out(tmp_path: Path, count: int, held_out: int) -> None:
    path = zipped(tmp_path / "a.zip", photos(count))
    data = build(request(path), tmp_path / "run")
    assert sum(e.held_out for e in data.examples) == held_out


def test_the_same_pictures_are_held_out_in_any_order_and_under_any_name(tmp_path: Path) -> None:
    files = photos(16)
    renamed = {f"x{99 - n}.png": content for n, content in enumerate(files.values())}
    held = [
        {e.sha256 for e in build(request(path), tmp_path / path.stem).examples if e.held_out}
        for path in (zipped(tmp_path / "a.zip", files), zipped(tmp_path / "b.zip", renamed))
    ]
    assert held[0] == held[1]
    assert len(held[0]) == 2


def test_captions_with_a_trigger_of_their_own_keep_it(tmp_path: Path) -> None:
    files = photos(4)
    files |= {f"{n}.txt": f"m1mi, a cat, place {n}".encode() for n in range(4)}
    data = build(request(zipped(tmp_path / "a.zip", files)), tmp_path / "run")
    assert data.trigger == "m1mi"
    assert data.examples[0].caption == "m1mi, a cat, place 0"
    assert data.captions_from == "files"


def test_a_trigger_that_is_taken_is_not_used(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", photos(1))
    assert build(request(path), tmp_path / "run", taken=["mimicat"]).trigger == "mimicatzu"


def test_a_trigger_in_captions_stays_and_is_told_if_another_lora_has_it(tmp_path: Path) -> None:
    files = photos(4) | {f"{n}.txt": b"m1mi, a cat" for n in range(4)}
    data = build(request(zipped(tmp_path / "a.zip", files)), tmp_path / "run", taken=["M1mi "])
    assert data.trigger == "m1mi"
    assert 'Another of your LoRAs has the trigger "m1mi", too.' in data.warnings


def test_a_name_on_several_lines_fits_on_the_report(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", photos(1))
    build(request(path, name="Mimi\n猫\u2029\U0001f600"), tmp_path / "run")
    assert (tmp_path / "run" / "report.png").is_file()


class Eyes:
    """A captioner that tells what it was shown."""

    def caption(self, picture: Path, hint: str, cancelled: Callable[[], bool]) -> str:
        with Image.open(picture) as shown:
            return f"{shown.width} wide, {hint}"


def test_a_captioner_sees_the_prepared_picture_and_what_it_is_about(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png(photo(1)), "b.png": png(photo(2))})
    data = build(request(path), tmp_path / "run", captioner=Eyes())
    assert data.captions_from == "endpoint"
    assert data.examples[0].caption == "mimicat, 200 wide, Mimi the cat, a tabby"


def test_few_and_blurred_and_animated_and_mirrored_pictures_are_warned_of(tmp_path: Path) -> None:
    frames = [photo(8), photo(9)]
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    files = {
        "soft.png": png(photo(1).filter(ImageFilter.GaussianBlur(4))),
        "a.png": png(photo(2)),
        "mirror.png": png(ImageOps.mirror(photo(2))),
        "move.gif": gif.getvalue(),
    }
    path = zipped(tmp_path / "a.zip", files)
    text = "\n".join(build(request(path, resolution=512), tmp_path / "run").warnings)
    assert "Only 4 pictures" in text
    assert "1 picture (soft.png) is blurred" in text
    assert "1 mirrored copy (mirror.png)" in text
    assert "move.gif is animated: its first frame is used" in text
    assert "4 pictures" in text
    assert "smaller than training at 512 x 512" in text


def test_mostly_blurred_pictures_are_warned_of(tmp_path: Path) -> None:
    files = {
        f"{n}.png": png(photo(n).filter(ImageFilter.GaussianBlur(4 * (n > 0)))) for n in range(4)
    }
    data = build(request(zipped(tmp_path / "a.zip", files)), tmp_path / "run")
    assert any(w.startswith("Mostly blurred: 3 of 4 pictures") for w in data.warnings)


def test_frames_of_a_video_are_pictures_without_the_repeated_ones(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"qscale": "2"})
        stream.bit_rate = 4_000_000
        stream.width, stream.height, stream.pix_fmt = 192, 160, "yuv420p"
        for second in range(6):
            frame = av.VideoFrame.from_image(photo(second // 3, (192, 160)))
            for _ in range(10):
                for packet in stream.encode(frame):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    (tmp_path / "clip.txt").write_text("walking")
    data = build(request(path), tmp_path / "run")
    assert [e.source.split(" at ")[0] for e in data.examples] == ["clip.mp4"] * 2
    assert [e.caption for e in data.examples] == ["mimicat, walking"] * 2
    assert dropped(data) == {"4 frames of clip.mp4": "are nearly the same as others"}


def test_without_a_usable_picture_it_says_why(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.pdf": b"%PDF", "b.png": b""})
    with pytest.raises(InputError) as caught:
        build(request(path), tmp_path / "run")
    assert caught.value.code == "pictures_none"
    assert "a.pdf is a PDF" in caught.value.message
    assert left_in(tmp_path / "run") == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures in empty"):
        build(request(tmp_path / "empty"), tmp_path / "run")


def test_no_more_pictures_are_used_than_allowed(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", photos(5))
    data = build(request(path), tmp_path / "run", limits=Limits(pictures=3))
    assert len(data.examples) == 3
    assert dropped(data) == {"2 further files": "more than 3 pictures are not used"}


def test_progress_goes_up_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    path = zipped(tmp_path / "a.zip", photos(4))
    build(request(path), tmp_path / "run", progress=lambda f, doing: told.append((f, doing)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert any("2.png" in doing for _, doing in told)


def test_when_it_is_cancelled_nothing_is_left_and_an_older_set_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = build(request(zipped(tmp_path / "a.zip", photos(2))), folder)
    path = zipped(tmp_path / "b.zip", photos(6))
    for moment in range(1, 26, 6):
        calls = iter(range(1000))

        def cancelled(calls: Any = calls, moment: int = moment) -> bool:
            return next(calls) >= moment

        with pytest.raises(CancelledError):
            build(request(path), folder, cancelled=cancelled)
        assert load(folder) == first
        assert left_in(folder) == ["dataset.json", "pictures", "report.png"]


def test_what_a_killed_try_left_is_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    left = folder / ".dataset-abc" / "pictures"
    left.mkdir(parents=True)
    (left / "00000.png").write_bytes(b"x")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "0009.png").write_bytes(b"x")
    with pytest.raises(InputError) as caught:
        load(folder)
    assert caught.value.code == "dataset_invalid"
    build(request(zipped(tmp_path / "a.zip", photos(2))), folder)
    assert left_in(folder) == ["dataset.json", "pictures", "report.png"]
    assert left_in(folder / "pictures") == ["0001.png", "0002.png"]


def test_a_data_set_that_is_damaged_is_not_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    build(request(zipped(tmp_path / "a.zip", photos(2))), folder)
    (folder / "pictures" / "0002.png").unlink()
    with pytest.raises(InputError, match="is gone"):
        load(folder)
    (folder / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        load(folder)


def test_a_picture_of_an_archive_lies_on_the_disk_one_at_a_time(tmp_path: Path) -> None:
    """What bounds the space that a large archive takes beside the pictures that stay."""
    folder = tmp_path / "run"
    most = 0

    def watch() -> bool:
        nonlocal most
        most = max(most, len(list(folder.glob(".dataset-*/pictures/.incoming*"))))
        return False

    build(request(zipped(tmp_path / "a.zip", photos(3))), folder, cancelled=watch)
    assert most == 1


def test_the_file_of_the_data_set_is_plain_json(tmp_path: Path) -> None:
    build(request(zipped(tmp_path / "a.zip", photos(1))), tmp_path / "run")
    values = json.loads((tmp_path / "run" / "dataset.json").read_text(encoding="utf-8"))
    assert values["trigger"] == "mimicat"
    assert values["examples"][0]["source"] == "0.png"


def test_captions_in_an_old_encoding_are_learned_as_they_were_written(tmp_path: Path) -> None:
    texts = ("窓辺に立つ少女、長い髪、笑顔", "赤いドレス、青い背景", "海辺の夕日、表情")
    captions = {f"{n}.txt": text.encode("cp932") for n, text in enumerate(texts)}
    data = build(request(zipped(tmp_path / "a.zip", {**photos(3), **captions})), tmp_path / "run")
    assert [example.caption for example in data.examples] == [f"mimicat, {x}" for x in texts]
    assert any("Shift-JIS" in text and texts[0] in text for text in data.warnings)


def test_captions_that_may_be_anything_are_told_and_not_learned(tmp_path: Path) -> None:
    files = {**photos(2), "0.txt": "表".encode("cp932")}
    archive = zipped(tmp_path / "a.zip", files)
    data = build(request(archive), tmp_path / "run")
    assert [example.caption for example in data.examples] == ["mimicat, a tabby"] * 2
    assert "--captions-encoding" in data.warnings[0]
    said = build(request(archive, captions_encoding="shift_jis"), tmp_path / "again")
    assert said.examples[0].caption == "mimicat, 表"


def test_captions_that_fit_no_picture_are_counted_even_if_none_fits(tmp_path: Path) -> None:
    files = {**photos(2), "x.txt": b"X", "y.txt": b"Y", "__MACOSX/._0.png": b"junk"}
    data = build(request(zipped(tmp_path / "a.zip", files)), tmp_path / "run")
    assert any(text.startswith("2 caption files (x.txt, y.txt)") for text in data.warnings)
    assert "1 file or folder (__MACOSX/._0.png)" in dropped(data)
