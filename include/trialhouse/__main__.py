"""The command line: `trialhouse` or `python -m trialhouse`. Every command is a function of the domain, called once."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trialhouse.errors import TrialhouseError

if TYPE_CHECKING:
    from trialhouse.laws import TableLaw

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="A warehouse of deep-learning trials.")

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name (see `trialhouse studies`).")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change levels of a factor (n_train=2000,5000), a setting (dataset=mnist) or a field; repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LawStudy = Annotated[str | None, typer.Argument(metavar="[STUDY]", help="A study that asks for laws, whose trials are in the warehouse.")]
LawName = Annotated[str | None, typer.Option("--law", help="Which of the study's laws; default: those that have the factors.")]
Where = Annotated[list[str] | None, typer.Option(metavar="NAME=LEVEL", help="Only this subgroup of the study's laws; repeatable.")]
LawTable = Annotated[Path | None, typer.Option("--table", help="Or any CSV or Parquet file, one row per trial.")]
LawOutcome = Annotated[
    str | None, typer.Option("--outcome", help="Column of the table: a loss or an error, or for --form bounded a score between 0 and 1.")
]
LawWeight = Annotated[
    str | None,
    typer.Option("--weight", help="Column of what each row counts: 1 / variance, or the trials whose mean it is."),
]
LawCluster = Annotated[str | None, typer.Option("--cluster", help="Column of the repeated unit.")]
Farthest = Annotated[float, typer.Option(help="Refuse what is more factors of ten beyond the trials.")]
AssignmentName = Annotated[str, typer.Option(help="How a table's factors came about: randomised, consequence, observational or unknown.")]
LawForm = Annotated[str, typer.Option(help="One of those in include/trialhouse/scaling_laws/README.md, or auto: what forecasts best.")]
Size = Annotated[str | None, typer.Option(help="Column: size of the network.")]
Data = Annotated[str | None, typer.Option(help="Column: amount of training data.")]
Width = Annotated[str | None, typer.Option(help="Column: width of the network.")]
Depth = Annotated[str | None, typer.Option(help="Column: depth of the network.")]
Unique = Annotated[str | None, typer.Option(help="Column: amount of distinct data, where data are repeated.")]
Steps = Annotated[str | None, typer.Option(help="Column: optimiser steps, all of one batch size.")]
Fix = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter that is known (E=0); repeatable.")]
Score = Annotated[
    str | None,
    typer.Option(help="A score in [0, 1] that the loss tells: a column of the table, or one that a law of the study asks for."),
]
Chance = Annotated[float | None, typer.Option(help="What guessing scores; without it, it is fitted.")]
Ceiling = Annotated[float, typer.Option(help="What the best there can be scores.")]
DropHighest = Annotated[int, typer.Option(help="Leave so many of the highest outcomes out, and say so.")]
KeepTransient = Annotated[bool, typer.Option("--keep-transient", help="Keep small trials that are not on the law yet.")]
Draws = Annotated[int, typer.Option(help="Of the bootstrap.")]
OF_STUDIES = ("law", "where", "run", "run_minutes")
"""Parameters that say which of a study's laws is meant, or that have its trials run."""
OF_TABLES = (
    *("outcome", "form", "size", "data", "width", "depth", "unique", "steps", "score", "chance", "ceiling", "cluster", "fix", "delta"),
    *("weight", "drop_highest", "keep_transient", "assignment"),
)
"""Parameters that say what law a table is to have: a study has registered its own."""


@app.command()
def studies(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a study.")] = False, as_json: AsJson = False
) -> None:
    """List the studies, and what is wrong with those that cannot be read."""
    from trialhouse.studies.catalogue import load_study, study_files
    from trialhouse.studies.spec import Study

    if schema:
        _print_json(Study.model_json_schema(by_alias=True))
        return
    found = []
    for name, path in study_files().items():
        try:
            found.append({"study_name": name, "path": str(path), "title": load_study(name).title, "error": None})
        except TrialhouseError as error:
            found.append({"study_name": name, "path": str(path), "title": None, "error": str(error)})
    if as_json:
        _print_json(found)
    for item in [] if as_json else found:
        typer.echo(f"{item['study_name']:<28} {item['title'] or 'cannot be read: ' + str(item['error'])}")


@app.command()
def design(
    study: StudyName,
    changes: Changes = None,
    flops_per_s: Annotated[
        float | None, typer.Option(help="Operations per second of one worker; default: as in trials that landed.")
    ] = None,
    watts: Annotated[float | None, typer.Option(help="Power of the machine while it trains, for the energy.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the trials that a study would run, what they cost, how balanced they are, and what its interventions hold."""
    from trialhouse.preview import preview
    from trialhouse.registration import plan
    from trialhouse.studies.catalogue import load_study

    planned = plan(load_study(study).with_overrides(changes=changes))
    found = preview(planned, flops_per_s=flops_per_s, watts=watts)
    labels = [factor.name for factor in planned.study.factors if factor.is_label]
    rows = [
        {
            "position": t.position,
            "trial_id": t.trial_id,
            "hardware_class": t.hardware_class,
            "block": t.block,
            "is_sentinel": t.is_sentinel,
            **t.factors,
            **{name: t.labels.get(name) for name in labels},
            **{f"propensity_of_{name}": value for name, value in t.propensities.items()},
        }
        for t in planned.trials
    ]
    if as_json:
        _print_json({"study_id": planned.study_id, "trials": rows, **found.to_dict()})
        return
    weights = len({trial.weights_id for trial in planned.trials})
    typer.echo(f"{planned.study.title}\n{planned.study_id}: {len(rows)} trials of {weights} networks\n")
    _print_table(rows)
    typer.echo("\n" + "\n".join(found.lines()))


@app.command()
def power(
    study: StudyName,
    effect: Annotated[float, typer.Option(help="Smallest effect that would matter, in units of the outcome.")],
    estimand: Annotated[str | None, typer.Option(help="Which question; default: the first primary one.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Another outcome than the question's.")] = None,
    sd: Annotated[float | None, typer.Option(help="Standard deviation within blocks; default: from landed trials.")] = None,
    block_sd: Annotated[float, typer.Option(help="Of blocks' levels.")] = 0.0,
    slope_sd: Annotated[float, typer.Option(help="Of the effect over blocks.")] = 0.0,
    simulations: Annotated[int, typer.Option(help="Draws for each size.")] = 400,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """How many blocks and trials it takes to see an effect, by simulation, before any trial runs."""
    from trialhouse.power import Noise
    from trialhouse.power import power as power_of
    from trialhouse.studies.catalogue import load_study

    noise = None if sd is None else Noise(sd, block_sd, slope_sd)
    chosen = load_study(study).with_overrides(changes=changes)
    found = power_of(chosen, effect=effect, estimand=estimand, outcome=outcome, noise=noise, simulations=simulations)
    if as_json:
        _print_json(found.to_dict())
    else:
        typer.echo("\n".join(found.lines()))


@app.command()
def run(
    study: StudyName,
    blocks: Annotated[int | None, typer.Option(help="Only the first so many blocks.")] = None,
    replicates: Annotated[int | None, typer.Option(help="Measure each combination so often.")] = None,
    rerun: Annotated[bool, typer.Option(help="Run landed trials again.")] = False,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Run a study through Airflow (started where it is not up) and print the answer."""
    from rich.console import Console

    from trialhouse.orchestration.running import run_study, show

    console = Console(stderr=as_json)
    chosen = {"blocks": blocks, "replicates": replicates, "rerun": rerun or None, "changes": changes or None}
    outcome = run_study(study, {name: value for name, value in chosen.items() if value is not None}, console)
    if as_json:
        _print_json({"state": outcome.state, "report": str(outcome.report), **(outcome.answer.to_dict() if outcome.answer else {})})
    else:
        show(outcome, console)
    if outcome.state != "success":
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    study: StudyName,
    table: Annotated[Path, typer.Option(help="CSV or Parquet, one row per trial, read as the study's 'recorded' says.")],
    as_json: AsJson = False,
) -> None:
    """Land trials that were run elsewhere; `run` then takes them to the answer."""
    from trialhouse.registration import import_table

    registration, records = import_table(study, table)
    trials, name = registration.trials, registration.study.name
    if as_json:
        found = {"study_id": registration.study_id, "trials": len(trials), "left_out": records.left_out, "is_new": registration.is_new}
        _print_json(found)
        return
    told = "landed" if registration.is_new else "had landed before"
    typer.echo(f"{registration.study_id}: {len(trials)} trials {told}; {records.left_out} rows of {table.name} are none of this study")
    typer.echo(f"next: trialhouse run {name}")


@app.command()
def up() -> None:
    """Start Airflow on loopback and stay until Ctrl-C."""
    from rich.console import Console

    from trialhouse.orchestration.running import stay_up

    stay_up(Console())


@app.command()
def docs() -> None:
    """Write the dbt docs (lineage, columns, tests) as one offline page."""
    from trialhouse.settings import get_settings
    from trialhouse.warehouse.loader import load_landed
    from trialhouse.warehouse.models import build_models, write_docs

    load_landed(get_settings())
    build_models(line=_quiet)
    typer.echo(f"dbt docs: {write_docs(line=_quiet)}")


@app.command()
def estimate(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="A study whose trials are in the warehouse.")] = None,
    table: Annotated[Path | None, typer.Option(help="Or any CSV or Parquet file.")] = None,
    treatment: Annotated[str | None, typer.Option(help="Column of the table.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Column of the table.")] = None,
    graph: Annotated[Path | None, typer.Option(help="Causal graph of the table: DOT, GML or YAML.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Column of the repeated unit.")] = None,
    per: Annotated[str | None, typer.Option(metavar="doubling|NUMBER", help="Effect of a doubling, or of so many units.")] = None,
    mediator: Annotated[list[str] | None, typer.Option(help="Also tell the effect other than through this column; repeatable.")] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="A recipe beside the usual ones; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate effects and try to refute them: of a study, or of a table with a graph."""
    from trialhouse.estimation import effects_of_study, effects_of_table
    from trialhouse.reporting.estimated import estimate_lines, estimate_rows

    _require_one(study, table, "estimate")
    if study is not None:
        result = effects_of_study(study)
    elif table is None or treatment is None or outcome is None or graph is None:
        raise TrialhouseError("--table goes with --treatment, --outcome and --graph", remedy="see `trialhouse estimate --help`")
    else:
        result = effects_of_table(
            table,
            treatment=treatment,
            outcome=outcome,
            graph=graph,
            cluster=cluster,
            per=per,
            mediators=mediator or (),
            recipes=recipe or (),
        )
    if as_json:
        _print_json(result)
    else:
        _print_table(estimate_rows(result))
        typer.echo("\n".join(estimate_lines(result)))


@app.command()
def fit(
    context: typer.Context,
    study: LawStudy = None,
    table: LawTable = None,
    outcome: LawOutcome = None,
    form: LawForm = "auto",
    size: Size = None,
    data: Data = None,
    width: Width = None,
    depth: Depth = None,
    unique: Unique = None,
    steps: Steps = None,
    cluster: LawCluster = None,
    weight: LawWeight = None,
    fix: Fix = None,
    score: Score = None,
    chance: Chance = None,
    ceiling: Ceiling = 1.0,
    delta: Annotated[float, typer.Option(help="Of the Huber loss on logarithms.")] = 1e-3,
    drop_highest: DropHighest = 0,
    keep_transient: KeepTransient = False,
    draws: Draws = 1000,
    as_json: AsJson = False,
) -> None:
    """Fit the scaling laws and responses of a study, or one law to a table, with intervals, and say what the range does not tell."""
    from trialhouse.laws import law_of_table, laws_of_study
    from trialhouse.reporting.fitted import comparison_lines, law_lines, law_rows, response_lines, response_rows

    _require_law(context, study, table, outcome)
    if study is not None:
        found = laws_of_study(study, draws=draws)
        results = found["laws"]
    else:
        found = law_of_table(table or Path(), _table_law(context))
        results = [found]
    if as_json:
        _print_json(found)
        return
    for number, result in enumerate(results):
        typer.echo("\n" if number else "", nl=False)
        if rows := law_rows(result):
            _print_table(rows)
        typer.echo("\n".join(law_lines(result)))
    if study is not None and found["comparisons"]:
        typer.echo("\n" + "\n".join(comparison_lines(found["comparisons"])))
    for number, result in enumerate(found.get("responses", ())):
        typer.echo("\n" if number or results else "", nl=False)
        if rows := response_rows(result):
            _print_table(rows)
        typer.echo("\n".join(response_lines(result)))


@app.command()
def forecast(
    context: typer.Context,
    do: Annotated[list[str], typer.Option("--do", metavar="NAME=VALUE", help="data=10x, data=200e9, size=2x; repeatable.")],
    study: LawStudy = None,
    law: LawName = None,
    where: Where = None,
    table: LawTable = None,
    outcome: LawOutcome = None,
    at: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Where it starts; default: the largest trial.")] = None,
    form: LawForm = "auto",
    size: Size = None,
    data: Data = None,
    width: Width = None,
    depth: Depth = None,
    unique: Unique = None,
    steps: Steps = None,
    cluster: LawCluster = None,
    weight: LawWeight = None,
    fix: Fix = None,
    score: Score = None,
    chance: Chance = None,
    ceiling: Ceiling = 1.0,
    drop_highest: DropHighest = 0,
    keep_transient: KeepTransient = False,
    assignment: AssignmentName = "unknown",
    farthest: Farthest = 2.0,
    check: Annotated[bool, typer.Option("--held-out", help="Also hold trials out and say how well the law forecasts them.")] = False,
    draws: Draws = 1000,
    as_json: AsJson = False,
) -> None:
    """Say what an intervention would do, by the scaling laws of a study or of a table, beside what a passive observer would expect."""
    from trialhouse.forecasting import assignment_named, forecast_of_study, forecast_of_table
    from trialhouse.reporting.forecasted import forecast_lines

    _require_law(context, study, table, outcome, of_both=("score",))
    if study is not None:
        asked = forecast_of_study(
            study, do=do, at=at or (), law=law, where=where or (), score=score, farthest=farthest, check=check, draws=draws
        )
        results = [one.to_dict() for one in asked]
        if as_json:
            _print_json({"study_name": study, "forecasts": results})
    else:
        how, question = assignment_named(assignment), _table_law(context)
        found = forecast_of_table(table or Path(), question, do=do, at=at or (), assignment=how, farthest=farthest, check=check)
        results = [found.to_dict()]
        if as_json:
            _print_json(results[0])
    for number, result in enumerate([] if as_json else results):
        typer.echo("\n" if number else "", nl=False)
        for part in forecast_lines(result):
            _print_table(part) if isinstance(part, list) else typer.echo(part)


@app.command()
def allocate(
    context: typer.Context,
    budget: Annotated[float, typer.Option(help="In FLOPs, or in units of --cost.")],
    study: LawStudy = None,
    law: LawName = None,
    where: Where = None,
    table: LawTable = None,
    outcome: LawOutcome = None,
    cost: Annotated[
        str | None, typer.Option(help="Column of a measured cost (FLOPs, seconds, joules, money); default: training_flops, if there.")
    ] = None,
    flops_per_example_parameter: Annotated[
        float | None, typer.Option(help="FLOPs = this x size x data; default where no cost is measured: 6.")
    ] = None,
    examples_per_step: Annotated[
        float | None, typer.Option(help="Batch size, in examples or tokens, to count the FLOPs of a law in steps.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(metavar="NAME<=NUMBER", help="Of a factor or a column (size<=1e9, latency_ms<=20); repeatable.")
    ] = None,
    batch: Annotated[int, typer.Option(help="How many next trials to propose.")] = 4,
    trial_budget: Annotated[
        float | None, typer.Option(help="What a next trial may cost; default: as much as the dearest there was.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Also run the best split beside its rivals, in every block of the study, and score its forecast.")
    ] = False,
    run_minutes: Annotated[float, typer.Option(help="Refuse --run where training would take longer.")] = 30.0,
    svg: Annotated[Path | None, typer.Option(help="Draw the frontier and curves of equal cost into this file.")] = None,
    form: LawForm = "auto",
    size: Size = None,
    data: Data = None,
    width: Width = None,
    depth: Depth = None,
    unique: Unique = None,
    steps: Steps = None,
    cluster: LawCluster = None,
    weight: LawWeight = None,
    fix: Fix = None,
    drop_highest: DropHighest = 0,
    keep_transient: KeepTransient = False,
    farthest: Farthest = 2.0,
    draws: Draws = 1000,
    as_json: AsJson = False,
) -> None:
    """Split a budget by a scaling law of a study or of a table, and propose the trials that would make the split surer.

    With --run the split is put to the test: it and rivals that spend the same are forecast, then run, and scored.
    """
    from trialhouse.forecasting import Purse, allocation_of_study, allocation_of_table
    from trialhouse.reporting.allocated import allocation_lines

    _require_law(context, study, table, outcome)
    purse = Purse(budget, cost, flops_per_example_parameter, limit or (), farthest, batch, trial_budget, examples_per_step)
    asked = None
    if study is not None:
        asked = allocation_of_study(study, purse, law=law, where=where or (), draws=draws)
        found = asked.found
    else:
        found = allocation_of_table(table or Path(), _table_law(context), purse)
    if svg is not None:
        from trialhouse.reporting.frontier_drawing import frontier_svg

        svg.write_text(frontier_svg(found), encoding="utf-8")
    if not as_json:
        typer.echo("\n".join(allocation_lines(found.to_dict())))
    result: dict[str, Any] = found.to_dict()
    if run and asked is not None:
        from trialhouse.auditing import audit
        from trialhouse.reporting.audited import audit_lines

        audited = audit(asked, minutes=run_minutes, say=lambda line: typer.echo(f"\n{line}", err=True)).to_dict()
        result["audit"] = audited
        for part in [] if as_json else ["", *audit_lines(audited)]:
            _print_table(part) if isinstance(part, list) else typer.echo(part)
    if as_json:
        _print_json(result)


@app.command()
def explain(
    study: StudyName,
    trial: Annotated[str, typer.Option(help="Id of a trial (marts.fct_trials), or how only one begins.")],
    outcome: Annotated[
        str | None, typer.Option(help="is_oom, latency_ms, ...; default: is_oom if it ran out of memory, else the study's first.")
    ] = None,
    do: Annotated[
        list[str] | None, typer.Option("--do", metavar="NAME=LEVEL", help="What would it have come to with this level; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say why a trial came out as it did, and what it would have come to with other levels of its factors."""
    from trialhouse.explanation import explain as explain_of
    from trialhouse.reporting.explained import explanation_lines

    found = explain_of(study, trial, outcome=outcome, do=do or ())
    if as_json:
        _print_json(found.to_dict())
    else:
        typer.echo("\n".join(explanation_lines(found)))


@app.command()
def query(sql: Annotated[str, typer.Argument(help="SQL for the published warehouse.")], as_json: AsJson = False) -> None:
    """Query the published warehouse, also while a study is running."""
    from trialhouse.settings import get_settings
    from trialhouse.warehouse.read import query as run_query

    rows = run_query(sql, get_settings())
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows)


def _require_one(study: str | None, table: Path | None, command: str) -> None:
    if (study is None) == (table is None):
        raise TrialhouseError("give a STUDY or --table FILE", "both" if study else "neither", f"see `trialhouse {command} --help`")


def _require_law(context: typer.Context, study: str | None, table: Path | None, outcome: str | None, of_both: Sequence[str] = ()) -> None:
    """A study has its questions, of which some options choose one; a table needs one."""
    command = str(context.info_name)
    _require_one(study, table, command)
    for name in OF_STUDIES if study is None else OF_TABLES:
        source = context.get_parameter_source(name) if name in context.params and name not in of_both else None
        if source is not None and source.name == "COMMANDLINE":
            option, place = f"--{name.replace('_', '-')}", "a STUDY" if study is None else "--table"
            remedy = "leave it out" if study is None else "leave it out: a study's YAML says what its laws are"
            raise TrialhouseError(f"{option} goes with {place}", "--table" if study is None else f"study {study!r}", remedy)
    if table is not None and outcome is None:
        raise TrialhouseError("--table goes with --outcome and the columns of the factors", remedy=f"see `trialhouse {command} --help`")


def _table_law(context: typer.Context) -> TableLaw:
    """The law of a table that a command's options ask for; a command that lacks an option has its default."""
    from trialhouse.laws import TableLaw
    from trialhouse.scaling_laws.forms import ROLES

    given = {name: value for name, value in context.params.items() if value is not None}
    options = {field.name: given[field.name] for field in fields(TableLaw) if field.name in given}
    return TableLaw(**{**options, "columns": {role: given[role] for role in ROLES if role in given}})


def _quiet(line: str) -> None:
    """Keep dbt's lines out of the terminal; its log has them."""


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def _print_table(rows: list[dict[str, Any]]) -> None:
    from trialhouse.reporting.terminal import table_lines

    typer.echo("\n".join(table_lines(rows)))


def main() -> None:
    """Run the command line: a user's mistake, or a file that the system refuses, is one line on stderr and exit status 2."""
    try:
        app()
    except TrialhouseError as error:
        typer.echo(f"trialhouse: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        remedy = "check the path, its permissions and the room that is left there"
        typer.echo(f"trialhouse: {error.filename} must be usable, got {str(error.strerror).lower()}; {remedy}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
