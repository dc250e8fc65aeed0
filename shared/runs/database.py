"""Check an SQLite database quickly; libraries retry for a minute before they report an error."""

import contextlib
import sqlite3
from pathlib import Path

from shared.errors import ConfigError

WAIT = 10.0  # seconds for another process to finish writing


def check_database(path: Path) -> None:
    """Check that a database can be written; create it if there is none.

    Raises:
        ConfigError: it is not a database, is damaged, or cannot be written.
    """
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=WAIT)) as database:
            database.execute("SELECT count(*) FROM sqlite_master")
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except sqlite3.Error as error:
        raise ConfigError(
            f"{path} cannot be used as a database: {error}\nmove it away, or free some disk space"
        ) from error
