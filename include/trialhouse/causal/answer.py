"""Causal questions, answered: DoWhy's four steps in order, for each of a question's contrasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from trialhouse.causal.comparison import compare
from trialhouse.causal.identify import identify
from trialhouse.causal.model import causal_model
from trialhouse.causal.question import Question
from trialhouse.causal.results import Results


def answer(question: Question, at: datetime) -> Results:
    """Model, identify, estimate and refute; one row per comparison and recipe.

    Raises
    ------
    EstimationError
        If the graph does not name the treatment or the outcome, or draws no path between them.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    results = Results()
    with threadpool_limits(1), _quiet():  # one thread: the same bits whatever runs beside
        graph = question.graph
        model = causal_model(question.frame, graph, question.treatment, question.outcome)
        identification = identify(
            model,
            graph,
            treatment=question.treatment,
            outcome=question.outcome,
            adjustment=question.adjustment,
            precision=question.precision,
        )
        for comparison in question.comparisons:
            results.extend(compare(question, comparison, identification, at))
    return results


def answer_all(questions: Sequence[Question], at: datetime, workers: int = 1) -> Results:
    """All questions' rows in order; with several workers, in as many processes, with the same bits."""
    results = Results()
    if workers > 1 and len(questions) > 1:
        from joblib import Parallel, delayed  # type: ignore[import-untyped]

        parts = Parallel(n_jobs=min(workers, len(questions)), batch_size=1)(delayed(answer)(question, at) for question in questions)
    else:
        parts = [answer(question, at) for question in questions]
    for part in parts:
        results.extend(part)
    return results


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep DoWhy from telling what the rows say already."""
    import logging
    import warnings

    logger = logging.getLogger("dowhy")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
