"""The process that workers are forked from: it imports what they need once, for all of them."""

import multiprocessing
from multiprocessing.context import BaseContext

PRELOADED = "fewshot.study.executors.preloaded"


def worker_context() -> BaseContext:
    """The context that worker processes are started in."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([PRELOADED])
    return context


def start_early() -> None:
    """Start that process now, so that it imports torch while this one does; each takes seconds."""
    if worker_context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        ensure_running()
