"""Websocket frames, byte by byte."""

import json

import pytest

from palaver.gateway.frames import changed_frame, close_frame, error_frames, result_frames, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_lengths_are_encoded_as_rfc_6455_says(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[0] == 0x81
    if size < 126:
        assert frame[1] == size
        assert len(frame) == 2 + size
    elif size < 65536:
        assert frame[1] == 126
        assert int.from_bytes(frame[2:4], "big") == size
        assert len(frame) == 4 + size
    else:
        assert frame[1] == 127
        assert int.from_bytes(frame[2:10], "big") == size
        assert len(frame) == 10 + size


def _payloads(data: bytes) -> list[object]:
    found = []
    while data:
        assert data[0] == 0x81
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        found.append(json.loads(data[start : start + size]))
        data = data[start + size :]
    return found


def test_a_changed_frame_has_the_literal_id() -> None:
    assert _payloads(changed_frame("stream-x", 'a"b', b"1,[2]")) == [
        {"msg": "changed", "collection": "stream-x", "id": "id", "fields": {"eventName": 'a"b', "args": [1, [2]]}}
    ]


def test_absent_keys_are_absent() -> None:
    assert _payloads(result_frames(b'"1"', None)) == [
        {"msg": "result", "id": "1"},
        {"msg": "updated", "methods": ["1"]},
    ]
    assert _payloads(result_frames(b'"1"', False))[0] == {"msg": "result", "id": "1", "result": False}
    assert _payloads(error_frames(b'"1"', {"error": 1}))[0] == {"msg": "result", "id": "1", "error": {"error": 1}}


def test_close_frames_are_short_enough_for_a_control_frame() -> None:
    assert close_frame(1012, "x" * 500)[1] <= 125
    assert close_frame(1000, "ok") == b"\x88\x04\x03\xe8ok"
