"""The one thing pyproject.toml cannot say: the repository's `pipelines/mini` travels in the wheel beside the code.

It is installed as `triplane3d/_pipelines/mini`; everything else about the package stands in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["triplane3d", "triplane3d.*"]), "triplane3d._pipelines"],
    package_dir={"triplane3d._pipelines": "pipelines"},
    package_data={"triplane3d": ["py.typed"], "triplane3d._pipelines": ["mini/**/*"]},
    include_package_data=False,
)
