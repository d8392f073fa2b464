"""What pyproject.toml cannot express: the model in the wheel, and the description for a package index.

The repository's `pipelines/mini` is installed as `triplane3d/_pipelines/mini`. The description is README.md without the
links and pictures that are files of the repository: an index cannot show them. With the environment variable
`TRIPLANE3D_FILES_URL` (where the files of this version can be read, such as
https://github.com/OWNER/triplane3d/blob/v0.1.0) they become whole addresses instead. Everything else about the package
stands in pyproject.toml.
"""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
RELATIVE = r"(?!https?:|mailto:|#)([^)\s]+)"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(" + RELATIVE + r"\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(" + RELATIVE + r"\)")
# A picture that is a paragraph, with its caption: the paragraph in italics below it.
PICTURE_AND_CAPTION = re.compile(PICTURE.pattern + r"\n\n(?:\*(?!\*)(?:[^\n]+\n)+\n)?")


def description(readme: str, address: str | None) -> str:
    """The README with the repository's own links and pictures by whole `address`; without one, without them."""
    parts = FENCE.split(readme)
    for place in range(0, len(parts), 2):  # the others are code
        if address:
            text = PICTURE.sub(rf"![\1]({address.rstrip('/')}/\2?raw=true)", parts[place])
            parts[place] = LINK.sub(rf"[\1]({address.rstrip('/')}/\2)", text)
        else:
            parts[place] = LINK.sub(r"\1", PICTURE_AND_CAPTION.sub("", parts[place]))
    return "".join(parts)


setup(
    packages=[*find_packages(include=["triplane3d", "triplane3d.*"]), "triplane3d._pipelines"],
    package_dir={"triplane3d._pipelines": "pipelines"},
    package_data={"triplane3d": ["py.typed"], "triplane3d._pipelines": ["mini/**/*"]},
    include_package_data=False,
    long_description=description(
        Path(__file__).with_name("README.md").read_text(encoding="utf-8"), os.environ.get("TRIPLANE3D_FILES_URL")
    ),
    long_description_content_type="text/markdown",
)
