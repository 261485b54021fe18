"""What if we intervene? A form for `trialhouse forecast`.

Choose a study that asked for laws, and what to set: `n_train=10x`, or `data=2x` by the name of a role. The answer stands in the log of
the task `forecast`, beside what a passive observer of the same trials would expect; it also lands, and `marts.fct_calibration` holds it
against trials that run later.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, Param

from operators.forecasting import ForecastOperator
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


def form(studies: dict[str, Study]) -> dict[str, Param]:
    """What is asked."""
    texts = {"type": "array", "items": {"type": "string"}}
    laws = "; ".join(f"{name}: {' and '.join(law.columns.values())}" for name, study in studies.items() for law in study.laws)
    return {
        "study": Param(next(iter(studies)), type="string", enum=list(studies), title="Study", description="One whose trials have landed."),
        "do": Param(["data=2x"], **texts, title="Do", description=f"What to set, by role (size, data) or by column. Laws are in {laws}."),
        "at": Param([], **texts, title="At", description="Where it starts, such as n_train=20000. Empty: at the largest trial."),
        "where": Param([], **texts, title="Where", description="Only laws of these levels, such as architecture=mlp. Empty: all."),
        "law": Param(None, type=["null", "string"], title="Law", description="Only the law of this name. Empty: all."),
        "score": Param(None, type=["null", "string"], title="Score", description=_scores(studies)),
        "check": Param(
            False, type="boolean", title="Held out", description="Also say how well the law forecasts trials that it is not shown."
        ),
    }


def _scores(studies: dict[str, Study]) -> str:
    scores = [
        f"{name}: {', '.join(score.outcome for score in law.scores)}" for name, study in studies.items() for law in study.laws if law.scores
    ]
    return f"Answer in a score that the law asks for. Empty: in its outcome. {'; '.join(scores) or 'No law asks for one'}."


if asked := with_laws():
    with DAG(
        dag_id="forecast",
        description="What an intervention would do, by a study's laws",
        doc_md=__doc__,
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        max_active_runs=1,
        default_args={"executor": "LocalExecutor", "retries": 1, "retry_delay": timedelta(seconds=10)},
        render_template_as_native_obj=True,
        params=form(asked),
        tags=["laws"],
    ):
        forecast = ForecastOperator(
            task_id="forecast",
            study_name="{{ params.study }}",
            **{name: f"{{{{ params.{name} }}}}" for name in ("do", "at", "where", "law", "score", "check")},
        )
        forecast >> refresh_warehouse("results", select="tag:results")
