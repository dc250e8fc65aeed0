"""Where Optuna stores a study: a file in its folder, or a database that several machines share.

A storage of Optuna makes single operations atomic (SQLite not even all of those). Workers also need
several at once: look at all trials, then start one. They do this under `Store.lock`, which the operating
system or the database releases when a worker is killed.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

import filelock
import optuna
import sqlalchemy
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from shared.errors import ConfigError
from shared.sqlite import check_database

T = TypeVar("T")

# Seconds to wait for a database: at the start, later, and after Ctrl-C.
FIRST_PATIENCE, PATIENCE, LAST_PATIENCE = 20.0, 300.0, 2.0
ANSWER = 60  # seconds in which a database must answer, and after which it releases a dead worker's lock
LOCK_KEY = 7_204_112  # any number that other users of the database do not lock
# Of libpq: notice within a minute that the machine of the database is gone.
CONNECTION = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
STORE_ERRORS = (optuna.exceptions.OptunaError, SQLAlchemyError, KeyError, RuntimeError, OSError)

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Store:
    """The storage that `text` names: a URL of SQLite or PostgreSQL, or the path of a journal file.

    Attributes:
        text: as given.
        name: how it is printed: without passwords.
        patience: seconds to wait for it.

    Raises:
        ConfigError: it is none of these; the message does not repeat it.
        ModuleNotFoundError: the driver of PostgreSQL is not installed.
    """

    def __init__(self, text: str) -> None:
        self.text, self.patience = text, PATIENCE
        self._url: URL | None = None
        if "://" not in text:
            self._file: Path | None = Path(text).absolute()
            self.name = text
            return
        try:
            self._url = make_url(text)
        except (ArgumentError, ValueError):
            raise ConfigError(
                "storage= cannot be read as a URL: escape special characters, as %40 for @"
            ) from None
        self.name = self._url.set(query={}).render_as_string()
        self._file, self._options = None, {}
        if self._url.get_backend_name() == "sqlite":
            if self._url.database in (None, "", ":memory:"):
                raise ConfigError("storage=sqlite:// names no file; give storage=sqlite:///FILE")
            self._file = Path(str(self._url.database)).absolute()
        else:
            own = str(self._url.query.get("options", ""))
            timeouts = f"-c statement_timeout={ANSWER}s -c idle_in_transaction_session_timeout={ANSWER}s"
            self._options = {**CONNECTION, "options": f"{own} {timeouts}"}
            self._engine = sqlalchemy.create_engine(
                self._url, connect_args=self._options, poolclass=sqlalchemy.pool.NullPool
            )

    def connect(self) -> optuna.storages.BaseStorage:
        """Return Optuna's storage.

        Raises:
            ConfigError: it is a file that is damaged or cannot be written.
        """
        if self._url is None:
            return optuna.storages.JournalStorage(JournalFileBackend(str(self._file)))
        if self._file is not None:
            check_database(self._file)
        engine: dict[str, Any] = {"connect_args": self._options, "pool_pre_ping": True}
        url = self._url.render_as_string(hide_password=False)
        return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=engine))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep out the other workers, on this machine and on others."""
        if self._file is not None:
            path = self._file.with_name(f".{self._file.name}.lock")
            with filelock.FileLock(path, timeout=ANSWER):
                yield
        else:
            with self._engine.begin() as connection:  # PostgreSQL releases the lock with the transaction
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
                yield

    def retry(self, action: Callable[[], T], patience: float | None = None) -> T:
        """Return `action()`; try again, for `patience` seconds, while the storage does not answer.

        Raises:
            ConfigError: it has not answered in this time, or cannot be used as a study.
        """
        start, seconds = time.monotonic(), self.patience if patience is None else patience
        warned = False
        while True:
            try:
                return action()
            except optuna.exceptions.UpdateFinishedTrialError:
                raise
            except STORE_ERRORS as error:
                cause = _cause(error)
                reason = self._without_secrets((str(cause).strip() or type(cause).__name__).splitlines()[0])
                if not _may_pass(error):
                    raise ConfigError(f"{self.name} cannot be used as a study: {reason}") from None
                if time.monotonic() - start > seconds:
                    problem = f"{self.name} has not answered for {seconds:.0f} s: {reason}"
                    raise ConfigError(f"{problem}\ntry again when it does") from None
                if not warned:
                    line = f"warning: {self.name} does not answer: {reason}; trying again\n"
                    print(line, end="", flush=True)  # one write: other workers print the same
                warned = True
                time.sleep(min(1.0, seconds / 10))

    def _without_secrets(self, message: str) -> str:
        url = self._url
        values = [url.password, *(v for k, v in url.query.items() if "pass" in k)] if url else []
        for value in {str(value) for value in values if value}:
            message = re.sub(
                "|".join(map(re.escape, (value, quote(value), quote_plus(value)))), "***", message
            )
        return message


def _cause(error: BaseException) -> BaseException:
    """Return the error of the database behind those of SQLAlchemy and Optuna."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig
    return _cause(error.__cause__) if error.__cause__ else error


def _may_pass(error: BaseException | None) -> bool:
    """Return whether the storage may answer later: it is down, slow or locked."""
    passing = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, sqlalchemy.exc.TimeoutError)
    if error is None or isinstance(error, (*passing, filelock.Timeout)):
        return error is not None
    return _may_pass(error.__cause__)
