"""A triplane as a field: three feature planes and a small MLP give occupancy and colour at any point.

The representation is that of EG3D (Chan et al. 2022, "Efficient geometry-aware 3D generative adversarial networks"),
with the planes' features concatenated instead of added.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.geometry.fields import FieldBatch
from triplane3d.models.attention import activation, cast_for_autocast
from triplane3d.models.embeddings import PLANE_AXES, fourier_features
from triplane3d.models.lattice import FirstLayerTable, TriplaneLatticeSampler, chunk_rows
from triplane3d.models.seams import smooth_seams

Result = TypeVar("Result")

DEPTH_AXES = (2, 1, 0)
"""The axis perpendicular to each of the planes XY, XZ, YZ."""

PlaneAxes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""For each plane, the coordinate axis along its width and the one along its height."""


def plane_coordinates(
    points: Float[Tensor, "batch points 3"], plane_axes: PlaneAxes = PLANE_AXES
) -> Float[Tensor, "batch 3 points 2"]:
    """The (width, height) coordinates of every point on every plane."""
    return torch.stack([points[..., axes] for axes in plane_axes], dim=1)


def sample_planes(
    planes: Float[Tensor, "batch plane channels height width"],
    coordinates: Float[Tensor, "batch plane points 2"],
    padding_mode: str,
) -> Float[Tensor, "batch plane channels points"]:
    """Features of each plane at `coordinates` in [-1, 1]², bilinear, in float32.

    Pixel centres lie half a pixel inside ±1. `padding_mode` is that of `grid_sample`: "border" or "zeros".
    """
    batch = planes.shape[0]
    with torch.autocast(planes.device.type, enabled=False):
        features = F.grid_sample(
            rearrange(planes.float(), "batch plane channels height width -> (batch plane) channels height width"),
            rearrange(coordinates.float(), "batch plane points axes -> (batch plane) points 1 axes"),
            mode="bilinear",
            padding_mode=padding_mode,
            align_corners=False,
        )
    return rearrange(features, "(batch plane) channels points 1 -> batch plane channels points", batch=batch)


class TriplaneFieldDecoder(nn.Module):
    """The point MLP: concatenated features of the three planes → occupancy logit and colour, which share a trunk.

    With `num_freqs` > 0 the first layer also takes the point's coordinates and their sines and cosines at the
    frequencies π/2·2⁰ … π/2·2ⁿ⁻¹ (Mildenhall et al. 2020, NeRF, equation 4). `plane_axes` are the axes along the width
    and the height of the planes over x and y, x and z, y and z. Without `color_hidden` the colour is one linear layer
    after the trunk.

    `TriplaneField` checks shapes and cuts points into chunks; use the methods here through it.
    """

    def __init__(
        self,
        plane_channels: int,
        *,
        hidden_dim: int = 64,
        num_layers: int = 4,
        activation_fn: str = "relu",
        color_channels: int = 0,
        padding_mode: str = "border",
        num_freqs: int = 0,
        plane_axes: PlaneAxes = PLANE_AXES,
        color_hidden: bool = True,
        bias: bool = True,
    ):
        super().__init__()
        if num_layers < 2:
            raise ValueError(f"the point MLP needs at least 2 linear layers, got field_layers={num_layers}")
        self.plane_channels = plane_channels
        self.padding_mode = padding_mode
        self.activation = activation(activation_fn)
        self.num_freqs = num_freqs
        self.plane_axes = plane_axes
        self.proj_in = nn.Linear(3 * plane_channels, hidden_dim, bias=bias)
        # A plane has no depth axis. With the point's own coordinates, its features can describe depths along that axis.
        self.place_in = nn.Linear(3 + 6 * num_freqs, hidden_dim, bias=False) if num_freqs else None
        self.layers = nn.ModuleList([nn.Linear(hidden_dim, hidden_dim, bias=bias) for _ in range(num_layers - 2)])
        self.proj_out = nn.Linear(hidden_dim, 1, bias=bias)
        self.color_in = nn.Linear(hidden_dim, hidden_dim, bias=bias) if color_channels and color_hidden else None
        self.color_out = nn.Linear(hidden_dim, color_channels, bias=bias) if color_channels else None
        # He et al. 2015: activations keep their variance over the layers, so that an untrained field varies over space.
        for layer in (self.proj_in, *self.layers, *([] if self.color_in is None else [self.color_in])):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if bias:
                nn.init.zeros_(layer.bias)

    def occupancy(
        self, planes: Float[Tensor, "batch 3 channels height width"], points: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """Occupancy logits at `points`; positive inside."""
        return self(self._occupancy_at, planes, points)

    def color(
        self, planes: Float[Tensor, "batch 3 channels height width"], points: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points 3"]:
        """RGB in 0..1 at `points`."""
        return self(self._color_at, planes, points)

    def occupancy_and_color(
        self, planes: Float[Tensor, "batch 3 channels height width"], points: Float[Tensor, "batch points 3"]
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"] | None]:
        """Both at `points`, with one pass through the trunk; the colour is None for a decoder without a colour head."""
        return self(self._occupancy_and_color_at, planes, points)

    def point_states(
        self, planes: Float[Tensor, "batch 3 channels height width"], points: Float[Tensor, "batch points 3"]
    ) -> tuple[Float[Tensor, "batch points hidden"], Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        """The trunk's output at `points`, the occupancy logits and the colours, grey without a colour head."""
        return self(self._point_states, planes, points)

    def occupancy_grid(
        self,
        planes: Float[Tensor, "batch 3 channels height width"],
        x: Float[Tensor, " x"],
        y: Float[Tensor, " y"],
        z: Float[Tensor, " z"],
    ) -> Float[Tensor, "batch x y z"]:
        """Occupancy logits on the regular grid x × y × z."""
        return self(self._grid, planes, x, y, z)

    def first_layer_table(
        self, planes: Float[Tensor, "1 3 channels size size"], axes: tuple[Tensor, Tensor, Tensor]
    ) -> FirstLayerTable:
        """The first layer, applied to each pixel of `planes` and each coordinate of `axes`; see `lattice.py`."""
        return self(self._first_layer, planes, axes)

    def occupancy_from_first_layer(
        self, planes: Float[Tensor, "1 3 channels size size"], outputs: Float[Tensor, "rows hidden"]
    ) -> Float[Tensor, " rows"]:
        """Occupancy logits from the first layer's `outputs`; `planes` only fix the type to compute in."""
        return self(self._occupancy_from, planes, outputs)

    def forward(self, compute: Callable[..., Result], *inputs: Any) -> Result:
        """`compute(*inputs)`. Each public method above passes through here.

        Offloading, sharding and profiling attach their hooks to `forward`. If a method ran without it, its weights
        might be on another device.
        """
        return compute(*inputs)

    def _hidden_states_at(self, planes: Tensor, points: Tensor) -> Float[Tensor, "batch points hidden"]:
        """The output of the trunk at `points`."""
        features = sample_planes(planes, plane_coordinates(points, self.plane_axes), self.padding_mode)
        features = rearrange(features, "batch plane channels points -> batch points (plane channels)")
        hidden_states = self.proj_in(self._compute_dtype(planes, features))
        if self.place_in is not None:
            hidden_states = hidden_states + self._project_coordinates(planes, points)
        return self._trunk(hidden_states)

    def _occupancy_at(self, planes: Tensor, points: Tensor) -> Float[Tensor, "batch points"]:
        return self._occupancy(self._hidden_states_at(planes, points))

    def _color_at(self, planes: Tensor, points: Tensor) -> Float[Tensor, "batch points 3"]:
        return self._color(self._hidden_states_at(planes, points))

    def _occupancy_and_color_at(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden_states = self._hidden_states_at(planes, points)
        return self._occupancy(hidden_states), None if self.color_out is None else self._color(hidden_states)

    def _point_states(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden_states = self._hidden_states_at(planes, points)
        grey = hidden_states.new_full((*points.shape[:-1], 3), 0.5)
        color = grey if self.color_out is None else self._color(hidden_states)
        return hidden_states, self._occupancy(hidden_states), color

    def _occupancy_from(self, planes: Tensor, outputs: Tensor) -> Float[Tensor, " rows"]:
        return self._occupancy(self._trunk(self._compute_dtype(planes, outputs)))

    def _compute_dtype(self, planes: Tensor, features: Tensor) -> Tensor:
        """`features` in the type of `planes`, or in autocast's."""
        return cast_for_autocast(features.to(planes.dtype))

    def _project_coordinates(self, planes: Tensor, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch hidden"]:
        """What the points' own coordinates add to the first layer's output."""
        features = torch.cat([points, *fourier_features(points, self.num_freqs, base=torch.pi / 2)], dim=-1)
        assert self.place_in is not None, "only called if num_freqs > 0"
        return self.place_in(self._compute_dtype(planes, features))

    def _trunk(self, hidden_states: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
        hidden_states = self._activate(hidden_states)
        for layer in self.layers:
            hidden_states = self._activate(apply_to_rows(layer, hidden_states))
        return hidden_states

    def _activate(self, hidden_states: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
        """The activation, in place where no gradient is needed."""
        if self.activation in (F.relu, F.silu) and not torch.is_grad_enabled():
            return self.activation(hidden_states, inplace=True)
        return self.activation(hidden_states)

    def _occupancy(self, hidden_states: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows"]:
        return apply_to_rows(self.proj_out, hidden_states).squeeze(-1)

    def _color(self, hidden_states: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows 3"]:
        assert self.color_out is not None, "TriplaneField raises an error without a colour head"
        if self.color_in is not None:
            hidden_states = self.activation(self.color_in(hidden_states))
        return self.color_out(hidden_states).sigmoid()

    def _first_layer(
        self, planes: Float[Tensor, "1 3 channels size size"], axes: tuple[Tensor, ...]
    ) -> FirstLayerTable:
        """The first layer is linear in the pixels of each plane, and in the features of each coordinate.

        The contribution of one plane is the layer's output for its features alone, the others being zero, less the
        bias. The contribution of a coordinate is likewise the difference to its value at the origin.
        """
        zero = planes.new_zeros(1, self.proj_in.in_features)
        bias = self.proj_in(zero)  # not `proj_in.bias`: the call includes adapters and hooks
        rows = []
        # The border of zeros is needed for padding_mode="zeros", where a sample may be up to one pixel outside.
        for plane, pixels in enumerate(F.pad(planes[0], (1, 1, 1, 1))):
            features = rearrange(pixels, "channels height width -> (height width) channels")
            padding = (plane * self.plane_channels, (2 - plane) * self.plane_channels)
            # Only this plane's features are not zero, so the layer returns this plane's term plus the bias.
            for some in self._compute_dtype(planes, features).split(chunk_rows(planes)):
                rows.append((self.proj_in(F.pad(some, padding)) - bias).float())
        if self.place_in is not None:
            origin = self._project_coordinates(planes, planes.new_zeros(1, 3, dtype=torch.float32))
            places = (F.pad(axis[:, None], (i, 2 - i)) for i, axis in enumerate(axes))
            rows += [(self._project_coordinates(planes, place) - origin).float() for place in places]
            bias = bias + origin
        return FirstLayerTable(torch.cat(rows), bias[0].float())

    def _grid(self, planes: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Float[Tensor, "batch x y z"]:
        """Occupancy on a grid of R³ points, with the first layer applied to 3 · R² samples instead of R³.

        On a regular grid a triplane is separable: a plane's feature depends on two of the three indices. Because the
        first layer is linear, its output is h[i, j, k] = hxy[i, j] + hxz[i, k] + hyz[j, k], computed by broadcasting.
        Only the layers after it run for every point. The result equals that of `occupancy` up to rounding.
        """
        batch = planes.shape[0]
        # 1. For each plane, features at R² samples, projected with the features of the other planes set to zero.
        zero = planes.new_zeros(1, self.proj_in.in_features)
        bias = self.proj_in(zero)  # not `proj_in.bias`: the call includes adapters and hooks
        parts = []
        for plane, (width, height) in enumerate(self.plane_axes):
            coordinates = [x, y, z]
            # The grid is indexed (x, y, z), so a part has its axes in ascending order, whichever is the plane's width.
            first, second = sorted((width, height))
            rows, columns = torch.meshgrid(coordinates[first], coordinates[second], indexing="ij")
            both = {first: rows.flatten(), second: columns.flatten()}
            grid = torch.stack([both[width], both[height]], dim=-1).expand(batch, 1, -1, -1)
            features = sample_planes(planes[:, plane : plane + 1], grid, self.padding_mode)[:, 0].transpose(1, 2)
            padding = (plane * self.plane_channels, (2 - plane) * self.plane_channels)
            part = self.proj_in(F.pad(self._compute_dtype(planes, features), padding)) - bias
            parts.append(part.unflatten(1, (len(rows), -1)))
        # 2. The bias and the terms of the coordinates are each added to one of the three parts.
        of_xy, of_xz, of_yz = parts
        of_yz = of_yz + bias
        if self.place_in is not None:
            # Each coordinate has its own features, so this linear layer also splits into a sum of three terms.
            origin = self._project_coordinates(planes, x.new_zeros(1, 3))
            along_x, along_y, along_z = (
                self._project_coordinates(planes, F.pad(axis[:, None], (i, 2 - i))) - origin
                for i, axis in enumerate((x, y, z))
            )
            of_xy = of_xy + along_x[:, None] + along_y
            of_xz = of_xz + along_z + origin

        # 3. The sum and the remaining layers, in slabs of whole rows along z, whose hidden states fit the cache.
        logits = planes.new_empty(batch, len(x), len(y), len(z))
        limit = chunk_rows(planes)
        rows = max(1, limit // len(z))
        slabs = max(1, limit // (len(y) * len(z)))
        for entry in range(batch):
            for i in range(0, len(x), slabs):
                for j in range(0, len(y), rows):
                    hidden_states = (
                        of_xy[entry, i : i + slabs, j : j + rows, None]
                        + of_xz[entry, i : i + slabs, None]
                        + of_yz[entry, None, j : j + rows]
                    )
                    logits[entry, i : i + slabs, j : j + rows] = self._occupancy(self._trunk(hidden_states))
        return logits


def apply_to_rows(layer: nn.Module, rows: Float[Tensor, "*rows channels"]) -> Float[Tensor, "*rows features"]:
    """`layer(rows)`. A linear layer in float32 on a CPU is computed as a convolution with a 1 × 1 kernel.

    Both are the same product. For narrow layers oneDNN's convolution takes half the time of the matrix product that
    `nn.Linear` calls. Anything that a direct call might bypass (hooks, gradients, autocast, compilation) disables it.
    """
    hooked = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    transformed = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    if type(layer) is not nn.Linear or hooked or transformed or rows.device.type != "cpu" or not rows.numel():
        return layer(rows)
    if not rows.dtype == layer.weight.dtype == torch.float32:
        return layer(rows)
    pixels = rows.reshape(1, -1, 1, rows.shape[-1]).permute(0, 3, 1, 2)
    features = F.conv2d(pixels, layer.weight[:, :, None, None], layer.bias)
    return features.permute(0, 2, 3, 1).reshape(*rows.shape[:-1], -1)


class TriplaneField(FieldBatch):
    """Occupancy and colour as functions of space: a batch of fields, each defined at points in [-1, 1]³.

    ```python
    field = vae.field(planes)
    logits = field.occupancy(points)        # (batch, points), positive inside
    first = field[0]; first(points[0])      # one field, called as a function of (points, 3)
    ```
    """

    def __init__(
        self,
        planes: Float[Tensor, "batch 3 channels height width"],
        decoder: TriplaneFieldDecoder,
        *,
        has_color: bool = False,
        chunk_size: int | None = None,
        seams: tuple[int, int] | None = None,
    ):
        """A batch of fields.

        Args:
            planes: the feature planes, order XY, XZ, YZ.
            decoder: a `TriplaneFieldDecoder`.
            has_color: whether `decoder` has a colour head.
            chunk_size: the most points evaluated at a time; None: all.
            seams: patch size and reach in pixels of `smooth_seams`, which is applied to the planes for colours.
        """
        self.planes = planes
        self.decoder = decoder
        self.has_color = has_color
        self.chunk_size = chunk_size
        self.seams = seams

    @cached_property
    def color_planes(self) -> Float[Tensor, "batch 3 channels height width"]:
        """The planes that `color` samples."""
        return self.planes if self.seams is None else smooth_seams(self.planes, *self.seams)

    def occupancy(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """Occupancy logits at `points`; positive inside, surface at 0."""
        return self._evaluate(self.decoder.occupancy, self.planes, points)

    def color(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """RGB in 0..1 at `points`; meaningful near the surface."""
        if not self.has_color:
            raise ValueError(
                "this model predicts no colour (color_channels=0 in its config): check `field.has_color` first, or "
                "load a model with a colour head"
            )
        return self._evaluate(self.decoder.color, self.color_planes, points)

    def occupancy_and_color(
        self, points: Float[Tensor, "batch points 3"]
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"] | None]:
        """Both with one pass through the trunk, for training. The colours are sampled from `planes`, not smoothed."""
        self._check(points)
        return self.decoder.occupancy_and_color(self.planes, points)

    def point_states(
        self, points: Float[Tensor, "batch points 3"]
    ) -> tuple[Float[Tensor, "batch points hidden"], Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        """The MLP's hidden states, the occupancy logits and the colours at `points`, for models that correct the field.

        The colours are sampled from `planes`, not smoothed; without a colour head they are grey.
        """
        self._check(points)
        return self.decoder.point_states(self.planes, points.to(self.device))

    def grid(self, x: Float[Tensor, " x"], y: Float[Tensor, " y"], z: Float[Tensor, " z"]) -> Float[Tensor, "b x y z"]:
        """Occupancy logits on the regular grid x × y × z: the values of `occupancy` at a fraction of the cost."""
        return self.decoder.occupancy_grid(self.planes, *(axis.to(self.device) for axis in (x, y, z)))

    def lattice(self, axis: Float[Tensor, " samples"]) -> TriplaneLatticeSampler:
        """A function for occupancy logits at nodes of the lattice axis × axis × axis, brick by brick.

        ```python
        lattice = field.lattice(torch.linspace(-1, 1, 257))
        logits = lattice(x, y, z, nodes)
        ```
        Here x, y and z (bricks, 9) are the indices of each brick's samples on the axis, and `nodes` (n,) are flat
        indices into (bricks, 9, 9, 9), in ascending order.

        Raises:
            ValueError: for a batch of several fields, or planes that are not square.
        """
        if len(self) != 1:
            raise ValueError(f"only a single field has a lattice, this is a batch of {len(self)}; pick one: field[i]")
        if self.planes.shape[-1] != self.planes.shape[-2]:
            raise ValueError(f"a lattice needs square planes, got {tuple(self.planes.shape[-2:])}; use field.grid")
        return TriplaneLatticeSampler(self.decoder, self.planes, axis.to(self.device))

    def _evaluate(self, function: Callable[[Tensor, Tensor], Tensor], planes: Tensor, points: Tensor) -> Tensor:
        """function(planes, points), in chunks of `chunk_size` points."""
        self._check(points)
        points = points.to(self.device)
        if self.chunk_size is None or points.shape[1] <= self.chunk_size:
            return function(planes, points)
        return torch.cat([function(planes, chunk) for chunk in points.split(self.chunk_size, dim=1)], dim=1)

    def _check(self, points: Tensor) -> None:
        if points.ndim != 3 or points.shape[-1] != 3 or points.shape[0] != len(self):
            raise ValueError(
                f"expected points of shape ({len(self)}, points, 3), got {tuple(points.shape)}; "
                "give one set of points per field of the batch, or pick one field with field[i]"
            )

    def __getitem__(self, index: int) -> "TriplaneField":
        if not -len(self) <= index < len(self):
            raise IndexError(f"field {index} of a batch of {len(self)}")
        planes = self.planes[index % len(self)][None]
        return TriplaneField(
            planes, self.decoder, has_color=self.has_color, chunk_size=self.chunk_size, seams=self.seams
        )

    def __len__(self) -> int:
        return self.planes.shape[0]

    @property
    def device(self) -> torch.device:
        return self.planes.device

    @property
    def dtype(self) -> torch.dtype:
        return self.planes.dtype
