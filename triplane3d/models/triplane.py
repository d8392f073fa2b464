"""A triplane as a field: three feature planes and a small MLP answer "inside?" and "which colour?" at any point."""

from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from triplane3d.models.attention import activation, cast_for_autocast
from triplane3d.models.embeddings import PLANE_AXES, fourier_features
from triplane3d.models.lattice import FirstLayer, TriplaneLattice, chunk_rows
from triplane3d.models.seams import smooth_seams

# The axis each plane looks along.
DEPTH_AXES = (2, 1, 0)

PlaneAxes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def project_points(
    points: Float[Tensor, "batch points 3"], plane_axes: PlaneAxes = PLANE_AXES
) -> Float[Tensor, "batch 3 points 2"]:
    """The (width, height) coordinates of every point on every plane."""
    return torch.stack([points[..., axes] for axes in plane_axes], dim=1)


def sample_planes(
    planes: Float[Tensor, "batch plane channels height width"],
    coordinates: Float[Tensor, "batch plane points 2"],
    padding_mode: str,
) -> Float[Tensor, "batch plane channels points"]:
    """Bilinear features in float32; one call for all planes. Pixel centres lie half a pixel inside ±1."""
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
    """The point MLP: concatenated features of the three planes → occupancy logit, and colour from the same trunk.

    With `num_freqs` > 0 it also reads the point's coordinates and their sines and cosines at π/2·2⁰ … π/2·2ⁿ⁻¹.
    `plane_axes` names the axes along the width and the height of the planes over x and y, x and z, y and z. Without
    `color_hidden` the colour is one linear layer away from the trunk.

    Everything the field asks goes through `forward`, where offloading hooks sit.
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
        # Where the point is, beside what the planes say there: a plane can then speak of depths ("solid up to here").
        self.place_in = nn.Linear(3 + 6 * num_freqs, hidden_dim, bias=False) if num_freqs else None
        self.layers = nn.ModuleList([nn.Linear(hidden_dim, hidden_dim, bias=bias) for _ in range(num_layers - 2)])
        self.proj_out = nn.Linear(hidden_dim, 1, bias=bias)
        self.color_in = nn.Linear(hidden_dim, hidden_dim, bias=bias) if color_channels and color_hidden else None
        self.color_out = nn.Linear(hidden_dim, color_channels, bias=bias) if color_channels else None
        # He's initialisation: an untrained field already varies over space instead of fading layer by layer.
        for layer in (self.proj_in, *self.layers, *([] if self.color_in is None else [self.color_in])):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if bias:
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        planes: Float[Tensor, "batch 3 channels height width"],
        points: Float[Tensor, "batch points 3"] | None = None,
        axes: tuple[Tensor, Tensor, Tensor] | None = None,
        first_layer: Float[Tensor, "rows hidden"] | None = None,
        wants: str = "occupancy",
    ) -> Tensor | tuple[Tensor, Tensor | None] | FirstLayer:
        """Answers at `points` (`wants` is "occupancy", "color" or "both"), or occupancy on the grid x × y × z.

        For a lattice, asked node by node, `wants="first layer"` with its axes answers what the first layer says of
        pixels and coordinates, and `first_layer`, its output at some nodes, is answered with their occupancy.
        """
        if wants == "first layer":
            assert axes is not None, "a lattice has axes"
            return self._first_layer(planes, axes)
        if axes is not None:
            return self._grid(planes, *axes)
        if first_layer is not None:
            return self._occupancy(self._trunk(self._compute_dtype(planes, first_layer)))
        assert points is not None, "the field asks either at points or on a grid"
        features = sample_planes(planes, project_points(points, self.plane_axes), self.padding_mode)
        features = rearrange(features, "batch plane channels points -> batch points (plane channels)")
        hidden_states = self.proj_in(self._compute_dtype(planes, features))
        if self.place_in is not None:
            hidden_states = hidden_states + self._place(planes, points)
        hidden_states = self._trunk(hidden_states)
        if wants == "occupancy":
            return self._occupancy(hidden_states)
        if wants == "color":
            return self._color(hidden_states)
        return self._occupancy(hidden_states), None if self.color_out is None else self._color(hidden_states)

    def _compute_dtype(self, planes: Tensor, features: Tensor) -> Tensor:
        return cast_for_autocast(features.to(planes.dtype))

    def _place(self, planes: Tensor, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch hidden"]:
        places = torch.cat([points, *fourier_features(points, self.num_freqs, base=torch.pi / 2)], dim=-1)
        assert self.place_in is not None, "asked only where the config has num_freqs"
        return self.place_in(self._compute_dtype(planes, places))

    def _trunk(self, hidden_states: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
        hidden_states = self._activate(hidden_states)
        for layer in self.layers:
            hidden_states = self._activate(apply_to_rows(layer, hidden_states))
        return hidden_states

    def _activate(self, hidden_states: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
        """In place where nothing will ask for the gradient."""
        if self.activation in (F.relu, F.silu) and not torch.is_grad_enabled():
            return self.activation(hidden_states, inplace=True)
        return self.activation(hidden_states)

    def _occupancy(self, hidden_states: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows"]:
        return apply_to_rows(self.proj_out, hidden_states).squeeze(-1)

    def _color(self, hidden_states: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows 3"]:
        assert self.color_out is not None, "TriplaneField refuses colour without a head"
        if self.color_in is not None:
            hidden_states = self.activation(self.color_in(hidden_states))
        return self.color_out(hidden_states).sigmoid()

    def _first_layer(self, planes: Float[Tensor, "1 3 channels size size"], axes: tuple[Tensor, ...]) -> FirstLayer:
        """The first layer applied to every pixel, and to every sample's coordinates: it is linear in each."""
        zero = planes.new_zeros(1, self.proj_in.in_features)
        bias = self.proj_in(zero)  # called, not read: hooks and adapters sit on the call
        rows = []
        for plane, pixels in enumerate(F.pad(planes[0], (1, 1, 1, 1))):
            features = rearrange(pixels, "channels height width -> (height width) channels")
            padding = (plane * self.plane_channels, (2 - plane) * self.plane_channels)
            for some in self._compute_dtype(planes, features).split(chunk_rows(planes)):
                rows.append((self.proj_in(F.pad(some, padding)) - bias).float())
        if self.place_in is not None:
            origin = self._place(planes, planes.new_zeros(1, 3, dtype=torch.float32))
            places = (F.pad(axis[:, None], (i, 2 - i)) for i, axis in enumerate(axes))
            rows += [(self._place(planes, place) - origin).float() for place in places]
            bias = bias + origin
        return FirstLayer(torch.cat(rows), bias[0].float())

    def _grid(self, planes: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Float[Tensor, "batch x y z"]:
        """The first layer is linear in each plane's feature: project R² samples per plane, add by broadcasting."""
        batch = planes.shape[0]
        zero = planes.new_zeros(1, self.proj_in.in_features)
        bias = self.proj_in(zero)  # called, not read: hooks and adapters sit on the call
        parts = []
        for plane, (width, height) in enumerate(self.plane_axes):
            coordinates = [x, y, z]
            first, second = sorted((width, height))
            rows, columns = torch.meshgrid(coordinates[first], coordinates[second], indexing="ij")
            both = {first: rows.flatten(), second: columns.flatten()}
            grid = torch.stack([both[width], both[height]], dim=-1).expand(batch, 1, -1, -1)
            features = sample_planes(planes[:, plane : plane + 1], grid, self.padding_mode)[:, 0].transpose(1, 2)
            padding = (plane * self.plane_channels, (2 - plane) * self.plane_channels)
            part = self.proj_in(F.pad(self._compute_dtype(planes, features), padding)) - bias
            parts.append(part.unflatten(1, (len(rows), -1)))
        of_xy, of_xz, of_yz = parts
        of_yz = of_yz + bias
        if self.place_in is not None:  # linear in each coordinate's own features, so it too splits into a sum
            origin = self._place(planes, x.new_zeros(1, 3))
            along_x, along_y, along_z = (
                self._place(planes, F.pad(axis[:, None], (i, 2 - i))) - origin for i, axis in enumerate((x, y, z))
            )
            of_xy = of_xy + along_x[:, None] + along_y
            of_xz = of_xz + along_z + origin

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
    """`layer(rows)`. A plain linear layer in float32 on the CPU runs as the 1 × 1 convolution that it is.

    For narrow layers oneDNN's convolutions take half the time of the matrix product that `nn.Linear` calls.
    """
    hooked = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    watched = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    if type(layer) is not nn.Linear or hooked or watched or rows.device.type != "cpu" or not rows.numel():
        return layer(rows)
    if not rows.dtype == layer.weight.dtype == torch.float32:
        return layer(rows)
    pixels = rows.reshape(1, -1, 1, rows.shape[-1]).permute(0, 3, 1, 2)
    answer = F.conv2d(pixels, layer.weight[:, :, None, None], layer.bias)
    return answer.permute(0, 2, 3, 1).reshape(*rows.shape[:-1], -1)


class TriplaneField:
    """What a decoded triplane says about space: a batch of fields, each callable at points in [-1, 1]³.

    ```python
    field = vae.field(planes)
    logits = field.occupancy(points)        # (batch, points), positive inside
    first = field[0]; first(points[0])      # one field, called as a function of (points, 3)
    ```
    """

    def __init__(
        self,
        planes: Float[Tensor, "batch 3 channels height width"],
        decoder: nn.Module,
        *,
        has_color: bool = False,
        chunk_size: int | None = None,
        seams: tuple[int, int] | None = None,
    ):
        """`seams`, a patch size and a reach in pixels, has `color` read planes from `smooth_seams`."""
        self.planes = planes
        self.decoder = decoder
        self.has_color = has_color
        self.chunk_size = chunk_size
        self.seams = seams

    @cached_property
    def color_planes(self) -> Float[Tensor, "batch 3 channels height width"]:
        """The planes that colours are read from."""
        return self.planes if self.seams is None else smooth_seams(self.planes, *self.seams)

    def occupancy(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """Occupancy logits at `points`; positive inside, surface at 0."""
        return self._ask(points, "occupancy")

    def color(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """RGB in 0..1 at `points`; meaningful near the surface."""
        if not self.has_color:
            raise ValueError(
                "this model predicts no colour: its config says color_channels=0; "
                "check `field.has_color` first or load a model that has a colour head"
            )
        return self._ask(points, "color")

    def occupancy_and_color(
        self, points: Float[Tensor, "batch points 3"]
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"] | None]:
        """Both from one pass over the trunk, for training: colours too are read from `planes`, seams and all."""
        self._check(points)
        return self.decoder(self.planes, points, wants="both")

    def grid(self, x: Float[Tensor, " x"], y: Float[Tensor, " y"], z: Float[Tensor, " z"]) -> Float[Tensor, "b x y z"]:
        """Occupancy logits on the regular grid x × y × z: same values as `occupancy`, a fraction of the cost."""
        return self.decoder(self.planes, axes=tuple(axis.to(self.device) for axis in (x, y, z)))

    def lattice(self, axis: Float[Tensor, " samples"]) -> TriplaneLattice:
        """Occupancy logits at nodes of the lattice axis × axis × axis, asked brick by brick.

        ```python
        lattice = field.lattice(torch.linspace(-1, 1, 257))
        logits = lattice(x, y, z, nodes)
        ```
        answers (n,) `nodes`, places in (bricks, 9, 9, 9), of bricks whose samples are numbered x, y, z (bricks, 9).
        """
        if len(self) != 1:
            raise ValueError(f"only a single field has a lattice, this is a batch of {len(self)}; pick one: field[i]")
        if self.planes.shape[-1] != self.planes.shape[-2]:
            raise ValueError(f"a lattice wants square planes, got {tuple(self.planes.shape[-2:])}; ask field.grid")
        return TriplaneLattice(self.decoder, self.planes, axis.to(self.device))

    def _ask(self, points: Tensor, wants: str) -> Tensor:
        self._check(points)
        points = points.to(self.device)
        planes = self.color_planes if wants == "color" else self.planes
        if self.chunk_size is None or points.shape[1] <= self.chunk_size:
            return self.decoder(planes, points, wants=wants)
        chunks = points.split(self.chunk_size, dim=1)
        return torch.cat([self.decoder(planes, chunk, wants=wants) for chunk in chunks], dim=1)

    def _check(self, points: Tensor) -> None:
        if points.ndim != 3 or points.shape[-1] != 3 or points.shape[0] != len(self):
            raise ValueError(
                f"expected points of shape ({len(self)}, points, 3), got {tuple(points.shape)}; "
                "give one set of points per field of the batch, or pick one field with field[i]"
            )

    def __call__(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        if len(self) != 1:
            raise ValueError(f"only a single field can be called, this is a batch of {len(self)}; pick one: field[i]")
        return self.occupancy(points[None])[0]

    def __getitem__(self, index: int) -> "TriplaneField":
        if not -len(self) <= index < len(self):
            raise IndexError(f"field {index} of a batch of {len(self)}")
        planes = self.planes[index % len(self)][None]
        return TriplaneField(
            planes, self.decoder, has_color=self.has_color, chunk_size=self.chunk_size, seams=self.seams
        )

    def __iter__(self) -> Iterator["TriplaneField"]:
        return (self[index] for index in range(len(self)))

    def __len__(self) -> int:
        return self.planes.shape[0]

    @property
    def device(self) -> torch.device:
        return self.planes.device

    @property
    def dtype(self) -> torch.dtype:
        return self.planes.dtype
