"""### Pull the nightly sources

Pulls every source of the schedule group `nightly` for one night: fetch, parse, map, gate, load, each with a receipt.
Master data comes first, as events refer to it. The ids are read when the run starts, one mapped task per source.

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
from fangcuan.flow.dagkit import Tag
from fangcuan.flow.pools import Pool

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
    @task(doc_md="The night this run is for, as a local date of the brand.")
    def night_due(**context) -> str:
        return flow.night_due(*dagkit.night_of(context))

    @task(doc_md="Lists the sources of master data.")
    def list_masters(night: str) -> list[str]:
        return dagkit.source_stages("nightly")[0]

    @task(doc_md="Lists the sources of events.")
    def list_events(night: str) -> list[str]:
        return dagkit.source_stages("nightly")[1]

    limits = {"pool": Pool.SOURCES, "retries": 3, "execution_timeout": timedelta(minutes=45)}

    @task(**limits, map_index_template="{{ source }}", doc_md="Pulls one source of master data.")
    def pull_masters(source: str, night: str) -> dict:
        return flow.pull(source, night)

    @task(
        **limits,
        map_index_template="{{ source }}",
        trigger_rule="all_done",
        doc_md="Pulls one source of events. Fails when asking again can help; a receipt is written either way.",
    )
    def pull_events(source: str, night: str) -> dict:
        return flow.pull(source, night)

    @task(
        trigger_rule="all_done",
        outlets=[LANDED],
        doc_md="Runs when every source has been tried, whatever came of it, and announces the night.",
    )
    def announce(**context):
        night = context["ti"].xcom_pull(task_ids="night_due")
        if night is None:
            raise AirflowFailException("no source was tried: the night is not known")
        yield Metadata(LANDED, extra={"night": night})

    night = night_due()
    masters = pull_masters.partial(night=night).expand(source=list_masters(night))
    events = pull_events.partial(night=night).expand(source=list_events(night))
    masters >> events >> announce()


pull_sources()
