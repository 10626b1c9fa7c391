"""Blocking calls of libraries, on a thread of their own, so that the one that waits for them still hears signals."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any


def in_background(call: Callable[..., Any], *arguments: Any, **named: Any) -> "Future[Any]":
    """Starts a call; `result()` waits for it. It does not keep the process from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments, **named))
        except BaseException as error:  # whoever waits raises it
            future.set_exception(error)

    Thread(target=run, name=getattr(call, "__name__", "call"), daemon=True).start()
    return future
