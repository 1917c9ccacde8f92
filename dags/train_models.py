"""### Train the detectors

Fits every detector that learns, one mapped task each, on what the lake holds. A trained model is a new version: it is
used from the next night on. The parameter `night` trains on what was known by that night; without it, by the last judged one.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

from fangcuan import flow
from fangcuan.flow import dagkit
from fangcuan.flow.dagkit import Tag
from fangcuan.flow.pools import Pool


@dag(
    dag_id="train_models",
    schedule=dagkit.cron("train"),
    catchup=False,
    max_active_runs=1,
    default_args=dagkit.task_defaults(retries=1, execution_timeout=timedelta(hours=4)),
    params=dagkit.night_params(),
    tags=[Tag.TRAIN, Tag.WEEKLY],
    doc_md=__doc__,
)
def train_models():
    @task(doc_md="Lists the detectors that learn.")
    def detectors() -> list[str]:
        return flow.detectors()

    @task(pool=Pool.UNITS, map_index_template="{{ detector }}", doc_md="Fits one detector and stores the model.")
    def train(detector: str, **context) -> dict:
        result = flow.train(detector, dagkit.night_of(context)[1])
        if result["state"] == "refused":
            raise AirflowFailException(result["message"])
        return result

    train.expand(detector=detectors())


train_models()
