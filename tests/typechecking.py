"""The test run's type checker: beartype with Python's numeric tower (an int is accepted as a float)."""

from beartype import BeartypeConf, beartype

numeric_tower = beartype(conf=BeartypeConf(is_pep484_tower=True))
