"""Check an SQLite database before a library uses it."""

import contextlib
from pathlib import Path

from shared.errors import ConfigError


def check_database(path: Path) -> None:
    """Check that an SQLite database can be written; create it if there is none.

    Libraries retry for a minute before they report an error; this takes ten seconds at most.

    Raises:
        ConfigError: it is not a database, is damaged, or cannot be written.
    """
    import sqlite3

    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as database:
            database.execute("SELECT count(*) FROM sqlite_master")
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except sqlite3.Error as error:
        reason = f"{path} cannot be used as a database: {error}"
        raise ConfigError(f"{reason}\nmove it away, or free some disk space") from error
