"""From the published marts to the explanation of one trial; lands nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trialhouse.errors import TrialhouseError
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.catalogue import parse_study
from trialhouse.warehouse.read import current_study_id, study_frame, study_table

if TYPE_CHECKING:
    from trialhouse.causal import Explanation


def explain(
    study_name: str, trial_id: str, *, outcome: str | None = None, do: Sequence[str] = (), settings: Settings | None = None
) -> Explanation:
    """Explain a trial of a study's current version; see `trialhouse.causal.explain_trial`.

    Parameters
    ----------
    study_name
        A study in the published warehouse.
    trial_id
        One of its trials, or the beginning of its id.
    outcome
        A column of the study's analysis view that its graph draws.
    do
        Texts such as `hardware_class=laptop`.

    Raises
    ------
    TrialhouseError
        If the study is not there, a text is no `NAME=LEVEL`, or the question cannot be answered.
    """
    from trialhouse.causal import explain_trial

    levels = {}
    for text in do:
        name, sign, level = text.partition("=")
        if not (name and sign and level) or name in levels:
            raise TrialhouseError("--do must be NAME=LEVEL, each name once", repr(text), "write --do hardware_class=laptop")
        levels[name.strip()] = level.strip()
    settings = settings or get_settings()
    study_id = current_study_id(study_name, settings)
    version = study_table("dim_studies", study_id, settings).iloc[0]
    study, graphs = parse_study(json.loads(version["spec"]), source=study_id), json.loads(version["graph"])
    return explain_trial(study, study_frame(study_id, settings), graphs, study_id=study_id, trial_id=trial_id, outcome=outcome, do=levels)
