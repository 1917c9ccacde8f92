"""### Judge one night

Facts, then units, each mapped over its ids; then decide, then file, then capture what has to be seen before it is gone.

* **Starts** when the night's sources have landed, at the latest at the cut-off. Both fire: the second run finds the night
  judged and skips everything.
* **The night** is an explicit key: the parameter `night`, else what the asset event carries, else the local date that was
  due at the run's logical date. `airflow backfill create` over cut-off times therefore judges the nights of those dates;
  give it `--max-active-runs 1`, as each night builds on the one before.
* **A source that failed** does not stop the night; what was not looked at is recorded as coverage. **A unit that failed**
  does not stop it either: the others are decided and filed, and the run ends as failed to be looked into.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from fangcuan import flow
from fangcuan.flow import dagkit
from fangcuan.flow.dagkit import Tag
from fangcuan.flow.pools import Pool


def ran(result: dict) -> dict:
    """The result of a unit, or a failed task: it is tried again, and what still fails is decided without."""
    if result["state"] == "failed":
        raise AirflowException(f"{result['unit_id']}: {result['message']}")
    return result


@dag(
    dag_id="nightly_conflict_check",
    schedule=dagkit.landed_or_cut_off("nightly"),
    catchup=False,
    max_active_runs=1,
    default_args=dagkit.task_defaults(),
    params=dagkit.night_params(),
    deadline=dagkit.deadline(timedelta(hours=4)),
    tags=[Tag.DETECT, Tag.NIGHTLY],
    doc_md=__doc__,
)
def nightly_conflict_check():
    @task(doc_md="The night this run is for, as a local date of the brand.")
    def night_due(**context) -> str:
        return flow.night_due(*dagkit.night_of(context))

    @task.short_circuit(
        pool=Pool.CASEBOOK,
        multiple_outputs=True,
        doc_md="Opens the night, or skips the whole run when it has been judged already.",
    )
    def open_night(night: str) -> dict | None:
        opened = flow.open_night(night)
        if opened["state"] == "judged":
            return None
        facts, units = opened["stages"]
        return {"night_run": opened["run_id"], "facts": facts, "units": units}

    @task(pool=Pool.CASEBOOK, doc_md="Sees that the lake files the night rests on are whole; hands on the facts.")
    def check_lake(night_run: str, facts: list[str], **context) -> list[str]:
        flow.check_lake(night_run)
        context["ti"].xcom_push("night_run", night_run)
        return facts

    @task(doc_md="Hands on the rules and detectors to run once the facts are there.")
    def list_units(units: list[str]) -> list[str]:
        return units

    @task(
        pool=Pool.UNITS,
        execution_timeout=timedelta(hours=2),
        map_index_template="{{ unit }}",
        doc_md="Computes one fact the other units read.",
    )
    def detect_fact(unit: str, night_run: str) -> dict:
        return ran(flow.detect(night_run, unit))

    @task(
        pool=Pool.UNITS,
        execution_timeout=timedelta(hours=2),
        map_index_template="{{ unit }}",
        trigger_rule="all_done",
        doc_md="Runs one rule or detector over the night.",
    )
    def detect_unit(unit: str, night_run: str) -> dict:
        return ran(flow.detect(night_run, unit))

    @task(
        pool=Pool.CASEBOOK,
        trigger_rule="all_done",
        doc_md="Merges what the units found: calibrates, controls false discoveries, ranks.",
    )
    def decide(**context) -> dict:
        night_run = context["ti"].xcom_pull(task_ids="check_lake", key="night_run")
        if night_run is None:
            raise AirflowSkipException("the lake was not checked: there is nothing to decide")
        return flow.decide(night_run)

    @task(pool=Pool.CASEBOOK, doc_md="Opens and updates cases; the night is judged when this ends.")
    def file_cases(night_run: str) -> dict:
        return flow.file(night_run)

    @task(
        pool=Pool.SOURCES,
        doc_md="Captures listing pages behind the price cases as evidence; off unless `capture_most` is set.",
    )
    def capture_pages(night_run: str) -> dict:
        return flow.capture_findings(night_run)

    @task(
        trigger_rule="one_failed",
        retries=0,
        doc_md="Marks the run as failed when a step or a unit failed for good. What could be filed has been filed.",
    )
    def report_failures() -> None:
        raise AirflowFailException("a step or unit of this night failed; see the failed tasks of this run")

    opened = open_night(night_due())
    checked = check_lake(opened["night_run"], opened["facts"])
    # Everything after `check_lake` takes the run from it: where it failed there is none, whatever the trigger rule says.
    night_run = checked["night_run"]
    to_run = list_units(opened["units"])
    facts = detect_fact.partial(night_run=night_run).expand(unit=checked)
    units = detect_unit.partial(night_run=night_run).expand(unit=to_run)
    decided = decide()
    checked >> to_run
    facts >> units
    [checked, facts, units] >> decided >> file_cases(night_run) >> capture_pages(night_run)
    [checked, facts, units] >> report_failures()


nightly_conflict_check()
