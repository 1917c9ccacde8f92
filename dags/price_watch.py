"""### Pull price sources through the day

Pulls the sources of the schedule group `intraday`, the price feeds: observed prices vanish within hours, so they are
looked at several times a day and kept with evidence. The rows belong to the night of the current day, which judges them;
this DAG files nothing.

A source that fails is retried within the hour and otherwise left for the next round. When all have been tried, the asset
`fangcuan_landed_intraday` is updated with the night in its `extra`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Metadata, dag, task
from airflow.sdk.exceptions import AirflowFailException

from fangcuan import flow
from fangcuan.flow import dagkit
from fangcuan.flow.dagkit import Tag
from fangcuan.flow.pools import Pool

LANDED = dagkit.landed("intraday")


@dag(
    dag_id="price_watch",
    schedule=dagkit.cron("price_watch"),
    catchup=False,
    max_active_runs=1,
    default_args=dagkit.task_defaults(),
    params=dagkit.night_params(),
    tags=[Tag.INGEST, Tag.INTRADAY],
    doc_md=__doc__,
)
def price_watch():
    @task(doc_md="The night that will judge what is seen now: the one of the current local date.")
    def night_ahead(**context) -> str:
        return flow.night_due(*dagkit.night_of(context, ahead=timedelta(days=1)))

    @task(doc_md="Lists the price sources.")
    def list_sources(night: str) -> list[str]:
        return flow.sources("intraday")

    @task(
        pool=Pool.SOURCES,
        execution_timeout=timedelta(minutes=30),
        map_index_template="{{ source }}",
        doc_md="Pulls one price source. Fails when asking again can help; a receipt is written either way.",
    )
    def pull(source: str, night: str) -> dict:
        return flow.pull(source, night)

    @task(trigger_rule="all_done", outlets=[LANDED], doc_md="Announces that the round is over.")
    def announce(**context):
        night = context["ti"].xcom_pull(task_ids="night_ahead")
        if night is None:
            raise AirflowFailException("no source was tried: the night is not known")
        yield Metadata(LANDED, extra={"night": night})

    night = night_ahead()
    pull.partial(night=night).expand(source=list_sources(night)) >> announce()


price_watch()
