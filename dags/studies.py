"""One DAG per study YAML: register, make weights, measure on every hardware class, build, validate, estimate, report."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param, TaskGroup

from operators.estimation import EstimateEffectsOperator
from operators.expectations import ValidateStudyOperator
from operators.profiling import ProfileTrialsOperator
from operators.registration import ImportTableOperator, RegisterStudyOperator
from operators.reporting import WriteReportOperator
from operators.studies import ReadStudyOperator
from operators.training import MakeWeightsOperator, TrainTrialsOperator
from operators.warehouse import refresh_warehouse
from trialhouse.errors import TrialhouseError
from trialhouse.settings import get_settings
from trialhouse.studies.catalogue import load_study, study_files
from trialhouse.studies.designs import cells_per_class
from trialhouse.studies.page import broken_page, study_page
from trialhouse.studies.spec import Study
from trialhouse.workloads.registry import is_learner

STUDY_ID = "{{ ti.xcom_pull('register', key='study_id') }}"
START = datetime(2026, 1, 1)
# Warehouse tasks run beside the scheduler even where trials go to workers of their own (a plain LocalExecutor ignores queues).
BESIDE_SCHEDULER = {"executor": "LocalExecutor", "retries": 2, "retry_delay": timedelta(seconds=5)}
TRIALS_PER_TASK = 240
"""About a minute of measuring: much longer than the two seconds that a task costs, short enough to lose to a retry."""
ON_WORKER = {"executor": None, "map_index_template": "part {{ task.chunk + 1 }} of {{ task.chunks }}"}


def study_dag(study: Study) -> DAG:
    """Wire one study: its trials, then the way to the answer."""
    with DAG(
        dag_id=study.name,
        description=study.title,
        doc_md=study_page(study),
        schedule=study.schedule,
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=BESIDE_SCHEDULER,
        tags=["study", study.workload.name],
        render_template_as_native_obj=True,
        params=form(study),
    ) as dag:
        if study.recorded is not None:
            landed = import_trials(study)
        else:
            landed = train_trials(study) if is_learner(study.workload.name) else run_trials(study)
        trials = refresh_warehouse("trials")
        landed >> trials
        answer(trials)
    return dag


def register_study(study: Study) -> RegisterStudyOperator:
    """Land what the study asks, as the form left it."""
    overrides = {name: f"{{{{ params.get('{name}') }}}}" for name in ("hardware_classes", "blocks", "replicates", "changes")}
    return RegisterStudyOperator(task_id="register", study_name=study.name, overrides=overrides)


def train_trials(study: Study) -> EmptyOperator:
    """Register, train: workers share the trials among themselves."""
    register = register_study(study)
    train = TrainTrialsOperator.partial(
        task_id="train",
        study_id=STUDY_ID,
        rerun="{{ params.rerun }}",
        pool="trials",
        queue=study.hardware_classes[0],
        executor=None,
        map_index_template="worker {{ task.worker + 1 }}",
    ).expand(worker=list(range(get_settings().trial_workers)))
    record = refresh_warehouse("record")
    register >> train
    register >> record
    landed = EmptyOperator(task_id="trained")
    [train, record] >> landed
    return landed


def run_trials(study: Study) -> TaskGroup:
    """Register, make weights, measure on every hardware class."""
    register = register_study(study)
    common = {"study_id": STUDY_ID, "rerun": "{{ params.rerun }}", **ON_WORKER}
    chunks = get_settings().trial_workers
    weights = MakeWeightsOperator.partial(
        task_id="make_weights", chunks=chunks, pool="trials", queue=study.hardware_classes[0], **common
    ).expand(chunk=list(range(chunks)))
    chunks = -(-cells_per_class(study) // TRIALS_PER_TASK)
    with TaskGroup("profile") as profile:
        for name in study.hardware_classes:
            ProfileTrialsOperator.partial(task_id=name, hardware_class=name, chunks=chunks, pool="profiling", queue=name, **common).expand(
                chunk=list(range(chunks))
            )
    record = refresh_warehouse("record")
    register >> weights >> profile
    register >> record >> profile  # nothing of this study runs beside a latency measurement
    return profile


def import_trials(study: Study) -> ImportTableOperator:
    """Trials that were run elsewhere: nothing to train or measure."""
    return ImportTableOperator(task_id="register", study_name=study.name, table="{{ params.table }}")


def answer(trials: TaskGroup) -> None:
    """From a warehouse that has a study's trials to its report."""
    validate = ValidateStudyOperator(task_id="validate", study_id=STUDY_ID)
    estimate = EstimateEffectsOperator(task_id="estimate", study_id=STUDY_ID)
    report = WriteReportOperator(task_id="report", study_id=STUDY_ID)
    done = EmptyOperator(task_id="done")  # fails with any of its three, so that a failed gate fails the run
    results = refresh_warehouse("results", select="tag:results", trigger_rule="all_done_min_one_success")  # a failed gate too
    trials >> validate >> estimate
    [trials, validate, estimate] >> results >> report
    [validate, estimate, report] >> done


def form(study: Study) -> dict[str, Param]:
    """What can be chosen when the study is triggered."""
    if study.recorded is not None:
        described = "Path of the table, on the machine that runs this task. Empty: as `trialhouse import` left it."
        return {"table": Param(None, type=["null", "string"], title="Table", description=described)}
    classes = list(study.hardware_classes)
    params = {"hardware_classes": Param(classes, type="array", examples=classes, title="Hardware classes", description="Where to measure.")}
    if block := study.block_factor:
        most = len(block.levels)
        description = f"How many of the {most} levels of {block.name} to run: fewer is faster and less certain."
        params["blocks"] = Param(most, type="integer", minimum=1, maximum=most, title="Blocks", description=description)
    params["replicates"] = Param(
        study.design.replicates, type="integer", minimum=1, title="Replicates", description="How often each combination is measured."
    )
    params["changes"] = Param(
        [],
        type=["null", "array"],  # null keeps the form from marking it as required
        items={"type": "string"},
        title="Changes",
        description="Such as n_train=2000,5000 (levels of a factor), dataset=mnist (a setting) or design.seed=3.",
    )
    params["rerun"] = Param(False, type="boolean", title="Run landed trials again", description="Otherwise trials that landed are reused.")
    return params


def broken_dag(name: str, reason: str) -> DAG:
    """Stand in for a YAML that is no study: the only DAG that its fault breaks."""
    page = broken_page(name, reason)
    with DAG(dag_id=name, description=reason, doc_md=page, start_date=START, schedule=None, tags=["study", "broken"]) as dag:
        ReadStudyOperator(task_id="read_study", study_name=name)
    return dag


for study_name in study_files():
    try:
        study_dag(load_study(study_name))
    except TrialhouseError as error:
        broken_dag(study_name, str(error))
