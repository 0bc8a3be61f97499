"""Message: what page and server say to each other over the socket; bytes from the page are untrusted."""

from __future__ import annotations

import struct
from typing import Annotated, Any, Final

import msgspec

from camlink.display.image import Lens
from camlink.errors import WireError

LARGEST_MESSAGE_BYTES: Final = 16_384
MOST_PANELS: Final = 32
ACKNOWLEDGEMENT: Final = struct.Struct("<I")

PanelNumber = Annotated[int, msgspec.Meta(ge=0, lt=MOST_PANELS)]


class Subscribe(msgspec.Struct, frozen=True, tag="subscribe", tag_field="type", forbid_unknown_fields=True):
    """A panel of the page wants the picture `name` through `lens`; a second one for the panel replaces the first."""

    panel: PanelNumber
    name: Annotated[str, msgspec.Meta(max_length=200)]
    lens: Lens = Lens()


class Unsubscribe(msgspec.Struct, frozen=True, tag="unsubscribe", tag_field="type", forbid_unknown_fields=True):
    """A panel of the page was closed."""

    panel: PanelNumber


class Acknowledge(msgspec.Struct, frozen=True):
    """The page has drawn the picture `sequence`."""

    sequence: int


_DECODER: Final[msgspec.json.Decoder[Subscribe | Unsubscribe]] = msgspec.json.Decoder(Subscribe | Unsubscribe)


def decode(data: str | bytes) -> Subscribe | Unsubscribe | Acknowledge:
    """A message of the page: JSON text, or four bytes (u32, little-endian) that acknowledge a picture.

    Raises WireError.
    """
    if len(data) > LARGEST_MESSAGE_BYTES:
        raise WireError(f"a message of {len(data)} bytes from the page; at most {LARGEST_MESSAGE_BYTES} are taken")
    if isinstance(data, bytes):
        if len(data) != ACKNOWLEDGEMENT.size:
            raise WireError(f"a binary message of {len(data)} bytes from the page; an acknowledgement has 4")
        return Acknowledge(ACKNOWLEDGEMENT.unpack(data)[0])
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise WireError(f"a message from the page does not parse: {error}; reload the page") from None


def text(kind: str, **content: Any) -> str:
    """A JSON message for the page."""
    return msgspec.json.encode({"type": kind, **content}).decode()
