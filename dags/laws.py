"""Questions to the laws of studies: forms for `trialhouse forecast` and `trialhouse allocate`."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, Param

from operators.forecasting import AllocateOperator, ForecastOperator
from operators.warehouse import refresh_warehouse
from trialhouse.errors import TrialhouseError
from trialhouse.studies.catalogue import load_study, study_files
from trialhouse.studies.spec import Study


def with_laws() -> dict[str, Study]:
    """The studies that can be asked, by name."""
    found = {}
    for name in study_files():
        try:
            study = load_study(name)
        except TrialhouseError:
            continue  # its own DAG says why
        if study.laws:
            found[name] = study
    return found


FORECAST = """What if we intervene? A form for `trialhouse forecast`.

Choose a study that asked for laws, and what to set: `n_train=10x`, or `data=2x` by the name of a role. The answer stands in the log of
the task `forecast`, beside what a passive observer of the same trials would expect; it also lands, and `marts.fct_calibration` holds it
against trials that run later.
"""
ALLOCATE = """Where should a budget go? A form for `trialhouse allocate`.

Choose a study that asked for a law of two factors or more, and a budget. The best split with its interval, the frontier, what others'
rules would lose and what to run next stand in the log of the task `allocate`. On the command line, `--run` puts the split to the test.
"""
TEXTS = {"type": ["null", "array"], "items": {"type": "string"}}
"""May be empty: null among the types keeps the form from marking it as required."""
TEXT = {"type": ["null", "string"]}


def which(studies: dict[str, Study]) -> dict[str, Param]:
    """Which law is asked."""
    return {
        "study": Param(next(iter(studies)), type="string", enum=list(studies), title="Study", description="One whose trials have landed."),
        "where": Param([], **TEXTS, title="Where", description="Only laws of these levels, such as architecture=mlp. Empty: all."),
        "law": Param(None, **TEXT, title="Law", description="Only the law of this name. Empty: all."),
    }


def forecast_form(studies: dict[str, Study]) -> dict[str, Param]:
    """What is asked of what an intervention does."""
    laws = "; ".join(f"{name}: {' and '.join(law.columns.values())}" for name, study in studies.items() for law in study.laws)
    return {
        **which(studies),
        "do": Param(
            ["data=2x"],
            type="array",
            items=TEXTS["items"],
            minItems=1,
            title="Do",
            description=f"What to set, by role (size, data) or by column. Laws are in {laws}.",
        ),
        "at": Param([], **TEXTS, title="At", description="Where it starts, such as n_train=20000. Empty: at the largest trial."),
        "score": Param(None, **TEXT, title="Score", description=_scores(studies)),
        "check": Param(
            False, type="boolean", title="Held out", description="Also say how well the law forecasts trials that it is not shown."
        ),
    }


def allocation_form(studies: dict[str, Study]) -> dict[str, Param]:
    """What is asked of a budget."""
    cost = "Column of a measured cost, such as training_seconds. Empty: FLOPs."
    limits = "Upper limits on factors or columns, such as size<=1e6 or training_seconds<=60."
    return {
        **which(studies),
        "budget": Param(1e12, type="number", exclusiveMinimum=0, title="Budget", description="In FLOPs, or in units of the cost."),
        "cost": Param(None, **TEXT, title="Cost", description=cost),
        "limits": Param([], **TEXTS, title="Limits", description=limits),
    }


def _scores(studies: dict[str, Study]) -> str:
    scores = [
        f"{name}: {', '.join(score.outcome for score in law.scores)}" for name, study in studies.items() for law in study.laws if law.scores
    ]
    return f"Answer in a score that the law asks for. Empty: in its outcome. {'; '.join(scores) or 'No law asks for one'}."


asked = with_laws()
of_two = {name: study for name, study in asked.items() if any(len(law.columns) > 1 for law in study.laws)}


def dag_with_form(name: str, description: str, doc: str, params: dict[str, Param]) -> DAG:
    """A DAG that only runs when it is asked."""
    return DAG(
        dag_id=name,
        description=description,
        doc_md=doc,
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        max_active_runs=1,
        default_args={"executor": "LocalExecutor", "retries": 1, "retry_delay": timedelta(seconds=10)},
        render_template_as_native_obj=True,
        params=params,
        tags=["laws"],
    )


def from_form(*names: str) -> dict[str, str]:
    """Arguments of an operator that the form fills in."""
    return {name: f"{{{{ params.{name} }}}}" for name in names}


if asked:
    with dag_with_form("forecast", "What an intervention would do, by a study's laws", FORECAST, forecast_form(asked)):
        forecast = ForecastOperator(
            task_id="forecast", study_name="{{ params.study }}", **from_form("do", "at", "where", "law", "score", "check")
        )
        forecast >> refresh_warehouse("results", select="tag:results")

if of_two:
    with dag_with_form("allocate", "The best split of a budget, by a study's law", ALLOCATE, allocation_form(of_two)):
        AllocateOperator(task_id="allocate", study_name="{{ params.study }}", **from_form("budget", "where", "law", "cost", "limits"))
