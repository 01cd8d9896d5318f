"""Files of passwords: their first line, and what is said of those without one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mtls_echo_pki.files.passwords import read_password
from mtls_echo_pki.files.pem_blocks import MaterialError


@pytest.mark.parametrize(
    ("contents", "password"),
    [
        (b"geheim", b"geheim"),
        (b"geheim\n", b"geheim"),
        (b"geheim\r\n", b"geheim"),
        (b"\xef\xbb\xbfgeheim\n", b"geheim"),
        (b" two words \nanother line\n", b" two words "),
    ],
)
def test_the_first_line_is_the_password(contents: bytes, password: bytes, tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(contents)

    assert read_password(tmp_path / "pw") == password


def test_a_password_as_powershell_writes_it_is_named_with_a_command(tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes("geheim\r\n".encode("utf-16"))

    with pytest.raises(MaterialError, match="pw: is UTF-16 text") as caught:
        read_password(tmp_path / "pw")

    command = (caught.value.hint or "").removeprefix("convert it: ")
    subprocess.run(["sh", "-c", command], check=True)
    assert read_password(tmp_path / "pw.txt") == b"geheim"


def test_a_file_without_a_password_says_why(tmp_path: Path) -> None:
    (tmp_path / "wide").write_bytes("geheim\n".encode("utf-16-be"))
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_bytes(b"\r\ngeheim\n")
    os.mkfifo(tmp_path / "pipe")
    reasons = {
        "absent": "does not exist",
        "empty": "is empty: there is no password",
        "blank": "its first line is empty: there is no password",
        "wide": "its first line has a NUL byte in it: is it UTF-16 text?",
        "pipe": "not a regular file",
        ".": "is a directory",
    }

    for name, reason in reasons.items():
        with pytest.raises(MaterialError) as caught:
            read_password(tmp_path / name)
        assert (caught.value.path, caught.value.reason) == (tmp_path / name, reason)
        assert caught.value.hint
