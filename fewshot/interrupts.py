"""Ctrl-C and SIGTERM: a command ends in order, with a line and a status, and neither is lost."""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

ENDINGS = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "terminated"),
}
"""Signal -> the status that a command ends with, and what it says."""

AGAIN = 0.05
"""Seconds after which a signal that came at a bad moment is delivered again."""


class Interrupts:
    """While this context lasts, both signals raise ``KeyboardInterrupt`` in the main thread.

    Not inside an import: a module in C that is being loaded may swallow the exception, or turn it
    into another (numpy's becomes an ``ImportError``, and torch goes on without numpy). It is raised
    once the import is over. Nor does one raised inside a destructor get lost; it is raised again.

    Signals that are ignored, as Ctrl-C in a shell's background jobs, stay so.

    Args:
        name: of the command.

    Attributes:
        received: the last signal, or None.
        loading: true while the command's modules are imported. Nothing has been done yet, so that
            a signal ends the process at once.
    """

    def __init__(self, name: str) -> None:
        self.name, self.loading = name, False
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._unraisable: Callable[[Any], object] = sys.unraisablehook
        self._timer: threading.Timer | None = None
        self._entered: FrameType | None = None

    def __enter__(self) -> Self:
        self._entered = sys._getframe(1)
        if threading.current_thread() is threading.main_thread():
            for number in ENDINGS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
            self._unraisable, sys.unraisablehook = sys.unraisablehook, self._lost
        return self

    def __exit__(self, *_: object) -> None:
        self._entered = None
        if self._timer:
            self._timer.cancel()
        if threading.current_thread() is threading.main_thread():
            sys.unraisablehook = self._unraisable
            for number, handler in self._before.items():
                signal.signal(number, handler)

    @property
    def ending(self) -> tuple[int, str]:
        """The status of an interrupted command, and its line."""
        status, word = ENDINGS[self.received or signal.SIGINT]
        return status, f"fewshot {self.name}: {word}; run the same command again to resume"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if self.loading:
            status, line = self.ending
            os.write(2, f"{line}\n".encode())
            os._exit(status)
        if self._importing(frame):
            self._deliver_again()
            return
        raise KeyboardInterrupt

    def _importing(self, frame: FrameType | None) -> bool:
        """True inside an import that began in this context."""
        while frame is not None and frame is not self._entered:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False

    def _lost(self, unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._deliver_again()
        else:
            self._unraisable(unraisable)

    def _deliver_again(self) -> None:
        number = self.received or signal.SIGINT
        self._timer = threading.Timer(AGAIN, _thread.interrupt_main, [number])
        self._timer.daemon = True
        self._timer.start()
