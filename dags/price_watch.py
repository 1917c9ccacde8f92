"""### Pull price sources through the day

Pulls the sources of the schedule group `intraday`, the price feeds: observed prices vanish within hours, so they are
looked at several times a day and kept with evidence. They are judged with the next night; this DAG files nothing.

A source that fails is retried within the hour and otherwise left for the next round. When all have been tried, the asset
`fangcuan_landed_intraday` is updated, with the night the rows will be judged in as `extra`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Metadata, dag, task
from airflow.sdk.exceptions import AirflowFailException

from fangcuan import flow
from fangcuan.flow import dagkit
from fangcuan.flow.dagkit import Pool, Tag

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
    @task(doc_md="Decides which night the rows are for and lists the price sources.")
    def plan(**context) -> list[str]:
        night = flow.night_due(*dagkit.night_of(context))
        context["ti"].xcom_push("night", night)
        return flow.sources("intraday")

    @task(
        pool=Pool.SOURCES,
        execution_timeout=timedelta(minutes=30),
        map_index_template="{{ source }}",
        doc_md="Pulls one price source. A receipt is written either way.",
    )
    def pull(source: str, night: str) -> dict:
        return flow.pull(source, night)

    @task(trigger_rule="all_done", outlets=[LANDED], doc_md="Announces that the round is over.")
    def announce(**context):
        night = context["ti"].xcom_pull(task_ids="plan", key="night")
        if night is None:
            raise AirflowFailException("no source was tried: the night could not be planned")
        yield Metadata(LANDED, extra={"night": night})

    planned = plan()
    tried = pull.partial(night=planned["night"]).expand(source=planned)
    [planned, tried] >> announce()


price_watch()
