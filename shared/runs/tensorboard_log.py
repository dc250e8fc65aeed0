"""Log a run as event files that TensorBoard reads, RUN/tensorboard.

TensorBoard's own writer imports TensorFlow if it is installed, which takes seconds; so the events are
written here, with TensorBoard's messages and in its format. It stores numbers in 32 bits.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.text import metadata as text
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from shared.config import AppConfig
from shared.runs.loggers import Point, hyperparameters
from shared.tables import markdown_table

FOLDER = "tensorboard"  # in the run folder
EVENTS = "events.out.tfevents."  # the prefix by which TensorBoard finds them


class TensorBoardLog:
    """The event file of one run."""

    def __init__(self, config: AppConfig, path: Path) -> None:
        self._file = RecordWriter(open(path, "xb"))  # noqa: SIM115  (closed by `end`)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for key, value in hyperparameters(config).items():
            _set(start.hparams[key], value)
        self._hparams(
            hparams.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)
        )
        self._file.flush()

    def add(self, points: Sequence[Point]) -> None:
        """Write points to the disk."""
        for name, step, value in points:
            self._summary(Summary.Value(tag=name, simple_value=value), step)
        self._file.flush()

    def end(self, status: str, texts: Mapping[str, str]) -> None:
        """Write how the run ended and the texts as a table; close the file."""
        metadata = text.create_summary_metadata("metrics.json", "")
        content = make_tensor_proto(markdown_table(["key", "value"], texts.items()))
        self._summary(Summary.Value(tag="metrics.json", metadata=metadata, tensor=content))
        end = plugin_data_pb2.SessionEndInfo(
            status=api_pb2.STATUS_SUCCESS if status == "done" else api_pb2.STATUS_FAILURE,
            end_time_secs=time.time(),
        )
        self._hparams(hparams.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))
        self._file.close()

    def _hparams(self, tag: str, content: plugin_data_pb2.HParamsPluginData) -> None:
        metadata: SummaryMetadata = hparams.create_summary_metadata(content)
        self._summary(Summary.Value(tag=tag, metadata=metadata, tensor=hparams.NULL_TENSOR))

    def _summary(self, value: Summary.Value, step: int = 0) -> None:
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def _write(self, event: Event) -> None:
        self._file.write(event.SerializeToString())


def open_log(config: AppConfig, folder: Path, resumed: bool) -> TensorBoardLog:
    """Start the event file of the run in `folder`, which replaces those of a resumed run.

    Raises:
        OSError: it cannot be written.
    """
    events = folder / FOLDER
    events.mkdir(exist_ok=True)
    if resumed:
        for path in events.glob(f"{EVENTS}*"):
            path.unlink(missing_ok=True)
    return TensorBoardLog(config, events / f"{EVENTS}{int(time.time()):010d}.{os.getpid()}")


def _set(target: Any, value: Any) -> None:
    """Set a hyperparameter in a message that has a field for each type."""
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    else:
        target.string_value = "null" if value is None else str(value)
