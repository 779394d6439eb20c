"""The headers of safetensors files: what they say of each tensor, and why a file is none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from causal_dsl.store.tensor_headers import header_fault, header_of

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.float8_e4m3fn,
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_header_has_the_shape_and_the_bytes_of_each_tensor(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {
        "one": torch.zeros(3, 5, dtype=dtype),
        "none": torch.zeros(0, 4, dtype=dtype),
        "number": torch.zeros((), dtype=dtype),
    }
    save_file(tensors, tmp_path / "t.safetensors", metadata={"who": "me"})
    header = header_of(tmp_path / "t.safetensors")
    assert header is not None and header.metadata == {"who": "me"}
    assert {name: one.shape for name, one in header.tensors.items()} == {"one": (3, 5), "none": (0, 4), "number": ()}
    assert {name: one.nbytes for name, one in header.tensors.items()} == {
        name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()
    }
    assert header_fault(tmp_path / "t.safetensors") == ""


def test_a_file_that_is_no_whole_one_has_a_fault(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file({"a": torch.ones(6)}, whole)
    data = whole.read_bytes()
    broken = {
        "cut off": data[:-8],
        "longer": data + b"1234",
        "empty": b"",
        "zeros": bytes(64),
        "text": b"these are not numbers of any tensor",
        "huge": struct.pack("<Q", 2**40) + b"{}",
        "no JSON": struct.pack("<Q", 8) + b"{nothing" + b"0" * 16,
    }
    for name, content in broken.items():
        file = tmp_path / "broken.safetensors"
        file.write_bytes(content)
        assert header_of(file) is None, name
        assert header_fault(file) and not header_fault(file).startswith("Error"), name
    assert header_of(tmp_path / "none.safetensors") is None
    assert header_fault(tmp_path / "none.safetensors") != ""
