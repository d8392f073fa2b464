"""The test run's type checker: beartype with Python's numeric tower (an int serves where a float is expected)."""

from beartype import BeartypeConf, beartype

numeric_tower = beartype(conf=BeartypeConf(is_pep484_tower=True))
