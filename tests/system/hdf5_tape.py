"""What HDF5 writes, write by write, and every state of the disk in which a kill may leave the file.

A kill comes between two writes, or inside one between two pages: the kernel copies a write page by page, and looks for
signals that end the process only between them (generic_perform_write of Linux).
"""

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PAGE = 4096
CHECKED = (b"OHDR", b"OCHK", b"BTHD", b"BTIN", b"BTLF", b"EAHD", b"EAIB", b"EASB", b"EADB", b"FAHD", b"FADB", b"FRHP",
           b"FHDB", b"FHIB", b"FSHD", b"FSSE", b"\x89HDF")
"""How the parts of a file begin that carry a checksum (HDF5 file format specification 3.0)."""
_WRITE = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64,
                          use_errno=True)
_CUT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int64, use_errno=True)
_READ_WRITE = 1 | 2


class Write(NamedTuple):
    """Bytes that were written at an offset; None where the file was cut, or grew, to that length."""

    offset: int
    data: bytes | None

    @property
    def borders(self) -> range:
        """How many bytes of it lie before each page border that it crosses."""
        length = 0 if self.data is None else len(self.data)
        return range(PAGE - self.offset % PAGE, length, PAGE)

    def put(self, image: bytearray, length: int | None = None) -> None:
        """Do it to the image of a file, or only its first bytes."""
        data = b"" if self.data is None else self.data[:length]
        end = self.offset + len(data)
        image.extend(bytes(max(0, end - len(image))))
        if self.data is None:
            del image[self.offset:]
        else:
            image[self.offset:end] = data


def states(image: bytearray, tape: list[Write]) -> Iterator[tuple[int, bytearray]]:
    """Number of whole writes and what lies on the disk then, for every moment of a kill; `image` follows the tape."""
    for count, write in enumerate(tape):
        yield count, image
        for length in write.borders:
            torn = bytearray(image)
            write.put(torn, length)
            yield count, torn
        write.put(image)
    yield len(tape), image


@contextmanager
def taped() -> Iterator[list[Write]]:
    """Meanwhile every write of HDF5 in this process goes onto the tape too; open one file only."""
    libc, tape = ctypes.CDLL(None, use_errno=True), list[Write]()
    write, cut = _WRITE(("pwrite64", libc)), _CUT(("ftruncate64", libc))

    def heard_write(file: int, data: int, length: int, offset: int) -> int:
        tape.append(Write(offset, ctypes.string_at(data, length)))
        return int(write(file, data, length, offset))

    def heard_cut(file: int, length: int) -> int:
        tape.append(Write(length, None))
        return int(cut(file, length))

    heard = {"pwrite64": _WRITE(heard_write), "ftruncate64": _CUT(heard_cut)}
    slots = _slots(tuple(heard))
    assert slots.keys() == heard.keys(), "HDF5 writes by other calls here: teach them to the tape"
    before = {name: slot.value for name, slot in slots.items()}
    for name, slot in slots.items():
        start = ctypes.addressof(slot) // PAGE * PAGE
        assert libc.mprotect(ctypes.c_void_p(start), PAGE, _READ_WRITE) == 0
        slot.value = ctypes.cast(heard[name], ctypes.c_void_p).value or 0
    try:
        yield tape
    finally:
        for name, slot in slots.items():
            slot.value = before[name]


def _slots(names: tuple[str, ...]) -> dict[str, ctypes.c_uint64]:
    """Where HDF5, as h5py has loaded it, keeps the addresses of these functions of the C library (ELF64)."""
    import h5py  # noqa: F401 - loads the library

    lines = Path("/proc/self/maps").read_text().splitlines()
    first = next(line for line in lines if Path(line.split()[-1]).name.startswith(
        ("libhdf5-", "libhdf5.so", "libhdf5_serial")))
    base, image = int(first.split("-")[0], 16), Path(first.split()[-1]).read_bytes()
    at, (size, count) = struct.unpack_from("<Q", image, 32)[0], struct.unpack_from("<HH", image, 54)
    heads = [struct.unpack_from("<IIQQQQQQ", image, at + k * size) for k in range(count)]  # type flags offset address …

    def offset(address: int) -> int:
        return next(head[2] + address - head[3] for head in heads if head[0] == 1 and 0 <= address - head[3] < head[5])

    dynamic = next(head for head in heads if head[0] == 2)
    tags = dict(struct.iter_unpack("<QQ", image[dynamic[2]:dynamic[2] + dynamic[5]]))
    symbols, texts = offset(tags[6]), offset(tags[5])
    found = {}
    for relocations, length in ((23, 2), (7, 8)):  # those of calls, then all others
        start = offset(tags[relocations])
        for where, info, _ in struct.iter_unpack("<QQq", image[start:start + tags[length]]):
            begin = texts + struct.unpack_from("<I", image, symbols + 24 * (info >> 32))[0]
            name = image[begin:image.index(b"\0", begin)].decode()
            if name in names:
                found[name] = ctypes.c_uint64.from_address(base + where)
    return found
