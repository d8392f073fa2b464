"""The process in which xatlas runs. It imports nothing of this package, so that it starts at once.

    python xatlas_process.py SECONDS SIZE PADDING < mesh.npz > charts.npz

It ends itself after SECONDS, also where the process that started it has been killed.
"""

import io
import signal
import sys

import numpy as np


def main() -> None:
    seconds, size, padding = (int(argument) for argument in sys.argv[1:])
    if hasattr(signal, "alarm"):
        signal.alarm(seconds + 1)
    import xatlas

    mesh = np.load(io.BytesIO(sys.stdin.buffer.read()))
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh["vertices"], mesh["faces"], mesh["normals"])
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding = size, padding
    atlas.generate(xatlas.ChartOptions(), pack)
    vertices, faces, uv = atlas.get_mesh(0)
    # xatlas scales u and v separately to 0..1. Texels stay square if both are scaled alike.
    uv = uv * np.array([atlas.width, atlas.height], np.float32) / max(atlas.width, atlas.height, 1)
    # Charts are made for v upwards. Here v points down: without this step most of them would be mirrored. Some are
    # anyway, because xatlas exchanges the axes of charts that fit better so.
    a, b, c = uv[faces[:, 0]], uv[faces[:, 1]], uv[faces[:, 2]]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    if area.sum() > 0:
        uv = uv * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
    charts = io.BytesIO()
    np.savez(charts, vertices=vertices, faces=faces, uv=uv, atlases=atlas.atlas_count)
    sys.stdout.buffer.write(charts.getvalue())


if __name__ == "__main__":
    main()
