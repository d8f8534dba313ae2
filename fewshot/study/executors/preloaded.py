"""Imported by the process that workers are forked from, and by no other.

Ctrl-C reaches every process of a terminal; the one that runs the command ends the others.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)

import matplotlib.figure  # noqa: E402, F401, TID253
import torch._dynamo  # noqa: E402 - the first optimizer of a process imports it
import torch.utils.tensorboard  # noqa: E402, F401

import fewshot.environment  # noqa: E402
import fewshot.study.plans  # noqa: E402

fewshot.environment.revision()  # of the code as it is loaded; workers have it from here
