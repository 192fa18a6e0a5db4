from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from kizy.catalog.formats.safetensors_header import read_header, read_scalar
from kizy.core.errors import KizyError, ModelFileError, UnknownNameError


def tensor(begin: int = 0, end: int = 4, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F16", "shape": [2], "data_offsets": [begin, end]} | changes


def code_of(path: Path) -> str:
    with pytest.raises(KizyError) as caught:
        read_header(path)
    return caught.value.code


def test_a_good_file_gives_names_shapes_metadata_and_size(tmp_path, write_tensors) -> None:
    path = write_tensors(tmp_path / "a.safetensors", {"x": (2, 3), "y": ()}, {"k": "v"})
    header = read_header(path)
    assert {name: (t.dtype, t.shape) for name, t in header.tensors.items()} == {
        "x": ("F16", (2, 3)),
        "y": ("F16", ()),
    }
    assert header.metadata == {"k": "v"}
    assert header.size == path.stat().st_size


def test_a_header_padded_with_spaces_is_read(tmp_path, write_bytes) -> None:
    path = write_bytes(tmp_path / "a.safetensors", b"{}      ")
    assert read_header(path).tensors == {}


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path, write_bytes) -> None:
    path = write_bytes(tmp_path / "a.safetensors", b"{}".ljust(640))
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert read_header(path).tensors == {}


def test_a_missing_file_is_said_to_be_missing(tmp_path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        read_header(tmp_path / "a.safetensors")
    assert caught.value.code == "file_missing"


def test_a_truncated_file_is_called_cut_short(tmp_path, write_tensors) -> None:
    path = write_tensors(tmp_path / "a.safetensors", {"x": (8,)})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelFileError, match="cut short: 5 bytes are missing") as caught:
        read_header(path)
    assert caught.value.code == "model_file_damaged"


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 20])
def test_a_file_that_ends_in_its_header_is_called_cut_short(
    length: int, tmp_path, write_tensors
) -> None:
    path = write_tensors(tmp_path / "a.safetensors", {"x": (8,)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelFileError, match="cut short") as caught:
        read_header(path)
    assert caught.value.code == "model_file_damaged"


def test_a_file_longer_than_it_says_is_damaged(tmp_path, write_bytes) -> None:
    path = write_bytes(tmp_path / "a.safetensors", {"x": tensor()}, b"12345")
    assert code_of(path) == "model_file_damaged"


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02}q", b"\x80\x04\x95", b"\x80\x05"])
def test_a_pickle_under_a_safetensors_name_is_refused(start: bytes, tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(start + b"\xff" * 40)
    assert code_of(path) == "model_file_pickled"


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".CKPT"])
def test_a_pickle_suffix_is_refused(suffix: str, tmp_path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"anything")
    assert code_of(path) == "model_file_pickled"


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html>not found</html>",
        b"\0" * 64,
        b"\xff" * 64,
        struct.pack("<Q", 4) + b"[{}]",
        struct.pack("<Q", 4) + b"{,}}",
        struct.pack("<Q", 4) + b"{\xff\xfe}",
    ],
)
def test_garbage_is_damaged(data: bytes, tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    assert code_of(path) == "model_file_damaged"


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a", "pointer of Git LFS"),
        (b"GGUF\x03\0\0\0" + bytes(40), "GGUF"),
        (b"\n <html><title>Sign in</title>", "web page"),
        (b'{"error":"Unauthorized","message":"x"}', "error of a service"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "picture"),
        (bytes(5000), "nothing but zeros"),
    ],
)
def test_what_it_is_instead_is_told(tmp_path, start: bytes, told: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(start)
    with pytest.raises(ModelFileError, match=told) as caught:
        read_header(path)
    assert caught.value.code == "model_file_damaged"


def test_a_tensor_that_is_named_twice_is_damage(tmp_path, write_bytes) -> None:
    one = b'"x":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}'
    path = write_bytes(tmp_path / "a.safetensors", b"{" + one + b"," + one + b"}", bytes(4))
    with pytest.raises(ModelFileError, match="names a tensor twice"):
        read_header(path)


def test_a_header_over_the_limit_is_refused_before_it_is_read(tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 100_000_001) + b"{")
    with path.open("r+b") as file:
        file.truncate(100_000_100)
    assert code_of(path) == "model_file_damaged"


def test_deeply_nested_json_is_damaged(tmp_path, write_bytes) -> None:
    path = write_bytes(tmp_path / "a.safetensors", b'{"a":' * 200_000 + b"1" + b"}" * 200_000)
    assert code_of(path) == "model_file_damaged"


def test_a_number_with_many_digits_is_damaged(tmp_path, write_bytes) -> None:
    path = write_bytes(tmp_path / "a.safetensors", b'{"a": ' + b"9" * 10_000 + b"}")
    assert code_of(path) == "model_file_damaged"


@pytest.mark.parametrize(
    "wrong",
    [
        7,
        {},
        tensor(-4, 0),
        tensor(4, 0),
        tensor(0, 4.0),
        tensor(0, 2**70),
        tensor(shape=[-2]),
        tensor(shape=[True, 2]),
        tensor(shape=[1] * 65 + [2]),
        tensor(shape="2"),
        tensor(shape=[3]),
        tensor(dtype=16),
        tensor(data_offsets=[0]),
        tensor(data_offsets=None),
    ],
)
def test_a_wrong_tensor_is_damaged(wrong: Any, tmp_path, write_bytes) -> None:
    path = write_bytes(tmp_path / "a.safetensors", {"x": wrong}, b"1234")
    assert code_of(path) == "model_file_damaged"


@pytest.mark.parametrize("second", [tensor(2, 6), tensor(5, 9)], ids=["overlap", "gap"])
def test_tensors_that_overlap_or_leave_gaps_are_damaged(
    second: dict[str, Any], tmp_path, write_bytes
) -> None:
    header = {"x": tensor(), "y": second}
    path = write_bytes(tmp_path / "a.safetensors", header, b"1" * second["data_offsets"][1])
    assert code_of(path) == "model_file_damaged"


@pytest.mark.parametrize("metadata", [["a"], {"a": 1}, "a"])
def test_metadata_that_is_no_text_is_damaged(metadata: Any, tmp_path, write_bytes) -> None:
    path = write_bytes(tmp_path / "a.safetensors", {"__metadata__": metadata})
    assert code_of(path) == "model_file_damaged"


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("F16", struct.pack("<e", 16.0)),
        ("BF16", struct.pack("<f", 16.0)[2:]),
        ("F32", struct.pack("<f", 16.0)),
        ("F64", struct.pack("<d", 16.0)),
    ],
)
def test_a_scalar_is_read_in_every_float_type(
    dtype: str, data: bytes, tmp_path, write_bytes
) -> None:
    info = {"dtype": dtype, "shape": [], "data_offsets": [0, len(data)]}
    path = write_bytes(tmp_path / "a.safetensors", {"x": info}, data)
    assert read_scalar(read_header(path), "x") == 16.0


def test_a_tensor_with_several_elements_is_no_scalar(tmp_path, write_tensors) -> None:
    path = write_tensors(tmp_path / "a.safetensors", {"x": (2,)})
    assert read_scalar(read_header(path), "x") is None


def test_blanks_before_the_header_are_read_over(tmp_path: Path) -> None:
    text = b'  \n{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    assert list(read_header(path).tensors) == ["a"]
