"""### Pull the nightly sources

Pulls every source of the schedule group `nightly` for one night: fetch, parse, map, gate, load, each with a receipt. The
source ids are read when the run starts, one mapped task per source.

A source that fails is retried; when it stays away the night goes on without it and the gap is recorded as **coverage**.
When every source has been tried, the asset `fangcuan_landed_nightly` is updated with the night in its `extra`, which
starts `nightly_conflict_check`.

Started by hand, the parameter `night` names the night; otherwise it is the one due at the run's logical date.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Metadata, dag, task
from airflow.sdk.exceptions import AirflowFailException

from fangcuan import flow
from fangcuan.flow import dagkit
from fangcuan.flow.dagkit import Pool, Tag

LANDED = dagkit.landed("nightly")


@dag(
    dag_id="pull_sources",
    schedule=dagkit.cron("pull"),
    catchup=False,
    max_active_runs=1,
    default_args=dagkit.task_defaults(),
    params=dagkit.night_params(),
    tags=[Tag.INGEST, Tag.NIGHTLY],
    doc_md=__doc__,
)
def pull_sources():
    @task(doc_md="Decides which night the run is for and lists the sources to pull.")
    def plan(**context) -> list[str]:
        night = flow.night_due(*dagkit.night_of(context))
        context["ti"].xcom_push("night", night)
        return flow.sources("nightly")

    @task(
        pool=Pool.SOURCES,
        retries=3,
        execution_timeout=timedelta(minutes=45),
        map_index_template="{{ source }}",
        doc_md="Pulls one source. Fails only when trying again can help; a receipt is written either way.",
    )
    def pull(source: str, night: str) -> dict:
        return flow.pull(source, night)

    @task(
        trigger_rule="all_done",
        outlets=[LANDED],
        doc_md="Runs when every source has been tried, whatever came of it, and announces the night.",
    )
    def announce(**context):
        night = context["ti"].xcom_pull(task_ids="plan", key="night")
        if night is None:
            raise AirflowFailException("no source was tried: the night could not be planned")
        yield Metadata(LANDED, extra={"night": night})

    planned = plan()
    tried = pull.partial(night=planned["night"]).expand(source=planned)
    [planned, tried] >> announce()


pull_sources()
