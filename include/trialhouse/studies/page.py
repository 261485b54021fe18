"""A study in Markdown, as the Airflow UI shows it beside the DAG."""

from __future__ import annotations

from trialhouse.studies.laws import LawQuestion
from trialhouse.studies.spec import Estimand, Factor, Study


def study_page(study: Study) -> str:
    """What a study asks, assigns and estimates, in Markdown."""
    crossed = {
        "crossed": "all combinations",
        "randomised": "drawn at random, balanced",
        "blocked": "blocks",
        "fixed": "held",
        "placebo": "a label that changes nothing",
        "confounded": "drawn with a hidden budget",
        "twin": "a label: confounded or randomised",
    }
    factors = "\n".join(f"| `{f.name}` | {_levels(f)} | {crossed[f.assignment]} |" for f in study.factors)
    estimands = "\n".join(
        f"| `{e.name}` | {_question(e)} | {_held(study, e)} | {'yes' if e.is_primary else 'exploratory'} |" for e in study.estimands
    )
    design = f"{study.design.kind.replace('_', ' ')}, seed {study.design.seed}"
    return f"""# {study.title}

{study.question}

**Workload** `{study.workload.name}` on {", ".join(study.hardware_classes)}; **design** {design}.

| factor | levels | assignment |
|---|---|---|
{factors}

| estimand | effect | held while the treatment is set | primary |
|---|---|---|---|
{estimands}
{_laws(study)}{_responses(study)}
Registered before the first trial runs; a failed gate stops the estimation. A trial that landed is not run again unless asked for.
Trigger it with the form for fewer blocks or classes. The answer: `reports/{study.name}/index.html` in the home.
"""


def broken_page(name: str, reason: str) -> str:
    """Why a YAML is no study, in Markdown."""
    return f"# {name} cannot be read\n\n{reason}\n\nMend the file: this DAG becomes the study within a minute.\n"


def _laws(study: Study) -> str:
    if not study.laws:
        return ""
    rows = (f"| `{law.name}` | {_curve(law)} | {law.form} | {', '.join(law.by) or 'all trials'} |" for law in study.laws)
    return "\n".join(["\n| law | curve | form | one for each |\n|---|---|---|---|", *rows, ""])


def _curve(law: LawQuestion) -> str:
    by = f"{law.outcome} by {' and '.join(law.columns.values())}"
    return f"{by}, which tells {' and '.join(score.outcome for score in law.scores)}" if law.scores else by


def _responses(study: Study) -> str:
    if not study.responses:
        return ""
    rows = (f"| `{one.name}` | {one.outcome} by all factors together | {', '.join(one.by) or 'all trials'} |" for one in study.responses)
    return "\n".join(["\n| response | model | one for each |\n|---|---|---|", *rows, ""])


def _levels(factor: Factor) -> str:
    levels = ", ".join(str(level) for level in factor.levels)
    return f"{levels} {factor.unit}" if factor.unit else levels


def _question(estimand: Estimand) -> str:
    levels = f"{estimand.compared[0]} → {estimand.compared[1]}" if estimand.per is None else f"per {_amount(estimand.per)}"
    contrast = f"{estimand.treatment} {levels} on {estimand.outcome}"
    contrast += " over training" if estimand.over_training else ""
    return f"{contrast}, by {estimand.by}" if estimand.by else contrast


def _amount(per: str | float) -> str:
    return per if isinstance(per, str) else f"+{per:g}"


def _held(study: Study, estimand: Estimand) -> str:
    """What the study says of it; `trialhouse design` derives from the workload what else is held, and by how much the rest gives way."""
    others = [f.name for f in study.factors if f.assignment != "fixed" and not f.is_label and f.name != estimand.treatment]
    held = f"{', '.join(dict.fromkeys((*estimand.hold, *others)))} and the workload's settings" if others else "the workload's settings"
    gives_way = f"{estimand.solve} are solved for" if estimand.solve else f"what follows from {estimand.treatment} gives way"
    return f"{held}; {gives_way}"
