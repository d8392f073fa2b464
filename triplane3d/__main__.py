"""`python -m triplane3d`, the `triplane3d` command."""

from triplane3d.cli import main

main()
