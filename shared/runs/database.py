"""Whether a file is an SQLite database that can be written: a library may try for a minute."""

import contextlib
import sqlite3
from pathlib import Path

from shared.errors import ConfigError

WAIT = 10.0  # seconds for another process to end its writing


def check_database(path: Path) -> None:
    """Try to write to a database; make it where there is none.

    Raises:
        ConfigError: it is something else, it is damaged, or it cannot be written.
    """
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=WAIT)) as database:
            database.execute("SELECT count(*) FROM sqlite_master")
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except sqlite3.Error as error:
        raise ConfigError(
            f"{path} cannot be used as a database: {error}\nmove it away, or free the place"
        ) from error
