"""### Keep the house

Verifies the history, signs a checkpoint of it and brings it to the places of the settings, scrubs the evidence store (every
stored file is read and its hash compared), and removes orphans and spill files. The four are independent: one that fails
hides none of the others, and the run ends as failed. Without a signing key no checkpoint is made, and the task says so.

Notifications that wait are sent once the history was verified, so that a failure is told at once. A message that could not be
brought to anybody for good fails the task.
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
    dag_id="housekeeping",
    schedule=dagkit.cron("housekeeping"),
    catchup=False,
    max_active_runs=1,
    default_args=dagkit.task_defaults(retries=1, execution_timeout=timedelta(hours=3)),
    tags=[Tag.UPKEEP, Tag.NIGHTLY],
    doc_md=__doc__,
)
def housekeeping():
    @task(
        doc_md="Recomputes the audit chain from its first event, compares it with checkpoints and tables; what differs "
        "fails the task and is named."
    )
    def verify_audit() -> dict:
        result = flow.audit_verify()
        if result["exit_code"]:
            raise AirflowFailException(result["message"])
        return result

    @task(
        pool=Pool.CASEBOOK,
        doc_md="Signs the history and brings the checkpoint to other places; a history that does not verify is not signed.",
    )
    def checkpoint() -> dict:
        return flow.audit_checkpoint()

    @task(doc_md="Reads the stored evidence and compares hashes; a mismatch fails the task and names the file.")
    def scrub_evidence() -> dict:
        result = flow.scrub_evidence()
        if result["problems"]:
            raise AirflowFailException("; ".join(result["problems"][:20]))
        return result

    @task(pool=Pool.CASEBOOK, doc_md="Removes lake files without a row, spill files and what retention lets go.")
    def tidy() -> dict:
        return flow.tidy()

    @task(
        pool=Pool.CASEBOOK,
        trigger_rule="all_done",
        doc_md="Sends the notifications that wait; one that was given up fails the task and its channel is named.",
    )
    def send_notifications() -> dict:
        result = flow.send_notifications()
        if result["given_up"]:
            raise AirflowFailException(f"{result['given_up']} given up: " + "; ".join(result["problems"]))
        return result

    verify_audit() >> send_notifications()
    checkpoint()
    scrub_evidence()
    tidy()


housekeeping()
