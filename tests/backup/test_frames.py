"""What a part holds is what was put into it, and nothing else is taken for it."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.backup.frames import DamagedArchive, Deflater, Frame, read_frames

frames = st.lists(
    st.builds(Frame, st.binary(min_size=1, max_size=1), st.binary(max_size=2000) | st.just(b"x" * 300_000)), max_size=8
)


@given(frames, st.integers(1, 9))
def test_frames_come_out_as_they_went_in(frames: list[Frame], level: int) -> None:
    deflater = Deflater(level)
    for frame in frames:
        deflater.add(*frame)
    assert list(read_frames(bytes(deflater.end()))) == frames
    assert deflater.size == sum(5 + len(frame.payload) for frame in frames)


@given(st.binary(max_size=500))
def test_what_is_no_part_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedArchive):
        list(read_frames(content))


@given(frames.filter(bool), st.data())
def test_what_is_less_than_a_part_is_refused(frames: list[Frame], data: st.DataObject) -> None:
    deflater = Deflater(1)
    for frame in frames:
        deflater.add(*frame)
    part = bytes(deflater.end())
    with pytest.raises(DamagedArchive):
        list(read_frames(part[: data.draw(st.integers(0, len(part) - 1))]))
    with pytest.raises(DamagedArchive):
        list(read_frames(part + b"x"))


@pytest.mark.parametrize("raw", [b"E", b"E\0\0\0\5abcd", b"E\xff\xff\xff\xff", b"E\0\0\0\1ab"])
def test_half_a_frame_is_refused(raw: bytes) -> None:
    with pytest.raises(DamagedArchive):
        list(read_frames(zlib.compress(raw)))
