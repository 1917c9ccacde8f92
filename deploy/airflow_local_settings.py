"""Airflow imports this in each process: the scheduler then loads the data libraries once, before it forks its workers."""

from fangcuan.flow.airflow_local import *  # noqa: F403
