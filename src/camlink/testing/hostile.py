"""The corpus of hostile payloads: what every parser of bytes from outside has to refuse without harm."""

from __future__ import annotations

import pickle
import struct
from typing import Final

_OBJECT: Final = {"a": [1, 2.5, "x"], "b": b"bytes"}

PAYLOADS: Final[dict[str, bytes]] = {
    "nothing": b"",
    "one zero": b"\x00",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "json": b'{"type": "Go", "operator": "camera", "replica": 0}',
    "deep json": b"[" * 5000,
    "broken utf-8": b"\xc3\x28\xa0\xa1" * 16,
    "pickle": pickle.dumps(_OBJECT),
    "pickle of a call": b"cposix\nsystem\n(S'true'\ntR.",
    "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "huge array announced": b"\xdd\xff\xff\xff\xff",
    "huge map announced": b"\xdf\xff\xff\xff\xff",
    "huge text announced": b"\xdb\xff\xff\xff\xff",
    "huge bytes announced": b"\xc6\xff\xff\xff\xff",
    "deep msgpack": b"\x91" * 5000,
    "negative length": struct.pack("<q", -1) * 4,
    "zmtp greeting": b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48),
    "path": b"../../../../etc/passwd\x00",
    "shell": b"$(touch hacked); `touch hacked`",
    "yaml": b"!!python/object/apply:os.system ['true']",
}
