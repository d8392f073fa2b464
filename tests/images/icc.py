"""ICC profiles written by the specification (ICC.1:2010), and the sRGB values of their colours."""

import struct

import numpy as np

WHITE_D50 = np.array([0.9642, 1.0, 0.8249])
D65 = (0.3127, 0.3290)
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))


def xyz_of_rgb(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Linear RGB → XYZ, both relative to D65, from chromaticities."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    return columns * np.linalg.solve(columns, white)


def encode(linear: np.ndarray) -> np.ndarray:
    """The sRGB curve, which Display P3 shares."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def decode(shown: np.ndarray) -> np.ndarray:
    return np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)


def srgb_of_p3(values: np.ndarray) -> np.ndarray:
    """Display values 0..1 of Display P3 as sRGB, clipped to its gamut: two matrices, no profile."""
    matrix = np.linalg.inv(xyz_of_rgb(SRGB)) @ xyz_of_rgb(DISPLAY_P3)
    return encode((decode(values) @ matrix.T).clip(0, 1))


def display_p3() -> bytes:
    """A matrix profile with the sRGB curve. Profiles are relative to D50: Bradford adaptation."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    matrix = xyz_of_rgb(DISPLAY_P3)
    cones = np.diag((bradford @ WHITE_D50) / (bradford @ matrix.sum(axis=1)))
    adapted = np.linalg.inv(bradford) @ cones @ bradford @ matrix
    curve = b"para" + struct.pack(">IHH", 0, 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {}
    for name, column in zip((b"r", b"g", b"b"), adapted.T):
        tags |= {name + b"XYZ": b"XYZ " + bytes(4) + fixed(*column), name + b"TRC": curve}
    return profile(b"RGB ", tags)


def gray_gamma(gamma: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": b"para" + struct.pack(">IHH", 0, 0, 0) + fixed(gamma)})


def cmyk_profile(inks: dict[tuple[int, int, int, int], float]) -> bytes:
    """A CMYK profile that gives full inks (cyan, magenta, yellow, black: 0 or 1) a lightness L*, and paper L* = 100."""
    straight = bytes(range(256))
    grid = [
        [round(inks.get((c, m, y, k), 100 if c + m + y + k == 0 else 0) * 2.55), 128, 128]
        for c in (0, 1)
        for m in (0, 1)
        for y in (0, 1)
        for k in (0, 1)
    ]
    table = (
        b"mft1"
        + bytes(4)
        + bytes([4, 3, 2, 0])
        + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
        + straight * 4
        + bytes(np.array(grid, np.uint8))
        + straight * 3
    )
    return profile(b"CMYK", {b"A2B0": table}, device=b"prtr", connection=b"Lab ")


def fixed(*values: float) -> bytes:
    """s15Fixed16 numbers."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def profile(space: bytes, tags: dict[bytes, bytes], *, device: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    """A version 4 profile of these tags."""
    text = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, 2, 28) + "x".encode("utf-16-be") + bytes(2)
    tags = {b"desc": text, b"cprt": text, b"wtpt": b"XYZ " + bytes(4) + fixed(*WHITE_D50)} | tags
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(data), bytes(4), 0x04200000, device, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*WHITE_D50)
    return head.ljust(128, b"\0") + table + data
