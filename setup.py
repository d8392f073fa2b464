"""Parts of the packaging that pyproject.toml cannot express: the model in the wheel, the description for an index.

The repository's `pipelines/mini` is installed as `triplane3d/_pipelines/mini`. The description is README.md without the
links and pictures that are files of the repository, because an index cannot show them. The environment variable
`TRIPLANE3D_FILES_URL` is an address of the files of this version, such as
https://github.com/OWNER/triplane3d/blob/v0.1.0. With it, these links and pictures get absolute addresses.
"""

import os
import re
from pathlib import Path

from setuptools import find_packages, setup

FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
RELATIVE = r"(?!https?:|mailto:|#)([^)\s]+)"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(" + RELATIVE + r"\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(" + RELATIVE + r"\)")
# A picture in a paragraph of its own, and its caption: the paragraph in italics below it.
PICTURE_AND_CAPTION = re.compile(PICTURE.pattern + r"\n\n(?:\*(?!\*)(?:[^\n]+\n)+\n)?")


def description(readme: str, address: str | None) -> str:
    """The README with links below `address`; without an address, links and pictures of the repository are removed."""
    parts = FENCE.split(readme)
    for place in range(0, len(parts), 2):  # the other parts are code blocks
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
