"""Making weights: pre-train once per seed, prune, recover, evaluate. Algorithm 1 of the pruning source, lines 5 to 11.

Everything is a function of content: the same weights come out bit for bit in whichever process and order they are made,
on one thread of the same kind of CPU.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trialhouse.attempts import Attempt, CurvePoint, Reading, last_attempts
from trialhouse.errors import TrialhouseError
from trialhouse.hardware.slot import machine_slot
from trialhouse.identity import content_id, seed_of
from trialhouse.landing import LandingZone
from trialhouse.profiling.flops import count_flops, flops_by_operator
from trialhouse.pruning.masks import make_permanent
from trialhouse.pruning.pruner import prune, prune_to_flops
from trialhouse.pruning.recovery import draw_anew, recalibrate_batch_norm
from trialhouse.registration import registered
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Level, Study
from trialhouse.training.threads import circumstances, one_thread
from trialhouse.workloads.protocol import Classifier, Examples, Recipe
from trialhouse.workloads.registry import load_classifier
from trialhouse.workloads.weights import WeightsStore

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

EVALUATION_BATCH = 250
"""Examples per batch of an evaluation: larger ones only cost page faults."""


class DivergedError(ArithmeticError):
    """The loss stopped being a number; carries the curves up to there."""

    def __init__(self, phase: str, epoch: int, curves: list[CurvePoint]) -> None:
        super().__init__(f"loss is not finite in epoch {epoch} of {phase}")
        self.epoch, self.curves = epoch, curves


def make_weights(
    study_id: str, chunk: int = 0, chunks: int = 1, *, rerun: bool = False, settings: Settings | None = None
) -> dict[str, int]:
    """Make a registered study's weights, or one of several equal parts of them.

    Parameters
    ----------
    study_id
        A registered version.
    chunk, chunks
        Which part, from 0, of how many. Weights with the same pre-trained network are neighbours, so a part needs few of
        those; two parts that need the same one wait for each other.
    rerun
        Also make weights that landed before.

    Returns
    -------
    dict
        Status -> count of the weights made by this call, and `skipped`.

    Raises
    ------
    TrialhouseError
        If the study is not registered or its workload cannot be used. Weights that diverge or crash are rows instead.
    """
    settings = settings or get_settings()
    registration = registered(study_id, settings)
    return make_weights_for(registration.study, registration.trials, chunk, chunks, rerun=rerun, settings=settings)


def make_weights_for(
    study: Study, trials: Sequence[Trial], chunk: int = 0, chunks: int = 1, *, rerun: bool = False, settings: Settings | None = None
) -> dict[str, int]:
    """The same for a study and trials in hand; see `make_weights`."""
    settings = settings or get_settings()
    workload = load_classifier(study)
    store, landing = WeightsStore(settings.weights_dir), LandingZone(settings.landing_dir)
    factors = {trial.weights_id: trial.factors for trial in trials}
    ordered = sorted(factors, key=lambda weights_id: (pretrained_id(workload, factors[weights_id]), weights_id))
    part = ordered[len(ordered) * chunk // chunks : len(ordered) * (chunk + 1) // chunks]
    landed = last_attempts(landing, part)
    counts: Counter[str] = Counter()
    for weights_id in part:
        is_there = store.has(weights_id) or (store.failure(weights_id) or {}).get("status") == "diverged"
        if weights_id in landed and is_there and not rerun:
            counts["skipped"] += 1
            continue
        with machine_slot("shared", settings), one_thread():
            attempt = _attempt(workload, weights_id, factors[weights_id], store)
        attempt.land(landing)
        counts[attempt.status] += 1
    return dict(counts)


def pretrained_id(workload: Classifier, factors: Mapping[str, Level]) -> str:
    """Id of the network before pruning: the workload with its settings and data, and the factors that determine the network."""
    identity = workload.identity()
    determinants = {name: factors[name] for name in identity.network_factors if name in factors}
    return content_id("pretrained", {**vars(identity), "settings": dict(identity.settings), "factors": determinants})


def fit(network: torch.nn.Module, train: Examples, test: Examples, recipe: Recipe, phase: str, seed: int) -> list[CurvePoint]:
    """Train in place: Adam on cross-entropy, the learning rate rising for a third of the steps and falling to zero.

    Parameters
    ----------
    train, test
        Splits in memory; the test split is only evaluated, after every epoch.
    phase
        Its name in the curves.
    seed
        Of the order of examples, and of dropout.

    Returns
    -------
    list of CurvePoint
        Accuracy (share) and loss (nats) per epoch on both splits; on the training split as they were while it trained.

    Raises
    ------
    DivergedError
        As soon as a loss is not finite.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of what a network itself draws (dropout)
        return _fit(network, train, test, recipe, phase, seed)


def _fit(network: torch.nn.Module, train: Examples, test: Examples, recipe: Recipe, phase: str, seed: int) -> list[CurvePoint]:
    import torch
    from torch.nn import functional

    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, fused=True)
    order = torch.Generator().manual_seed(seed)
    count = len(train.targets)
    steps = recipe.epochs * math.ceil(count / recipe.batch_size)
    step = 0
    curves: list[CurvePoint] = []
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        total_loss, correct = 0.0, 0
        shuffled = torch.randperm(count, generator=order)
        for start in range(0, count, recipe.batch_size):
            chosen = shuffled[start : start + recipe.batch_size]
            if len(chosen) < 2:
                continue  # batch norm cannot normalise a single example
            optimiser.param_groups[0]["lr"] = recipe.learning_rate * _one_cycle(step / steps)
            targets = train.targets[chosen]
            scores = network(train.inputs[chosen])
            loss = functional.cross_entropy(scores, targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if not math.isfinite(loss.item()):
                raise DivergedError(phase, epoch, curves)
            total_loss += loss.item() * len(chosen)
            correct += int((scores.argmax(1) == targets).sum())
            step += 1
        accuracy, test_loss = evaluate(network, test)
        for split, metric, value in (
            ("train", "loss", total_loss / count),
            ("train", "accuracy", correct / count),
            ("test", "loss", test_loss),
            ("test", "accuracy", accuracy),
        ):
            curves.append(CurvePoint(phase, split, epoch, metric, value if math.isfinite(value) else None))
        if not math.isfinite(test_loss):
            raise DivergedError(phase, epoch, curves)
    return curves


def evaluate(network: torch.nn.Module, examples: Examples) -> tuple[float, float]:
    """Accuracy (share of examples) and mean cross-entropy (nats), in evaluation mode."""
    import torch
    from torch.nn import functional

    network.eval()
    correct, loss = 0, 0.0
    with torch.inference_mode():
        for start in range(0, len(examples.targets), EVALUATION_BATCH):
            targets = examples.targets[start : start + EVALUATION_BATCH]
            scores = network(examples.inputs[start : start + EVALUATION_BATCH])
            correct += int((scores.argmax(1) == targets).sum())
            loss += functional.cross_entropy(scores, targets, reduction="sum").item()
    return correct / len(examples.targets), loss / len(examples.targets)


def _attempt(workload: Classifier, weights_id: str, factors: Mapping[str, Level], store: WeightsStore) -> Attempt:
    """Make one set of weights; whatever goes wrong with it is the attempt's status."""
    attempt = Attempt("weights", weights_id, weights_id)
    attempt.profiles = circumstances()
    try:
        _make(attempt, workload, weights_id, factors, store)
    except DivergedError as error:
        attempt.fail("diverged", str(error))
        attempt.curves += error.curves
    except TrialhouseError as error:  # it says all there is to know
        log.warning("weights %s cannot be made: %s", weights_id, error)
        attempt.fail("crashed", str(error))
    except Exception as error:  # a failed trial is a row, never a lost task
        log.exception("weights %s crashed", weights_id)
        attempt.fail("crashed", f"{type(error).__name__}: {error}")
    if attempt.status != "ok":
        store.save_failure(weights_id, {"status": attempt.status, "reason": attempt.failure_reason})
    return attempt


def _make(attempt: Attempt, workload: Classifier, weights_id: str, factors: Mapping[str, Level], store: WeightsStore) -> None:
    train, test = workload.examples("train"), workload.examples("test")
    network, curves = _pretrained(workload, factors, store)
    attempt.curves += curves
    example = test.inputs[:1]
    unpruned_flops = count_flops(network, example)
    attempt.realised = {"seed": _seed(factors), **_prune(network, workload, factors, example, train)}
    attempt.realised["recovery"] = str(factors.get("recovery", "finetune"))
    accuracy, loss = evaluate(network, test)
    attempt.outcomes |= {"accuracy_before_finetuning": Reading(accuracy), "loss_before_finetuning": Reading(loss)}
    attempt.curves += _recover(network, workload, factors, train, test)
    make_permanent(network)
    accuracy, loss = evaluate(network, test)
    by_operator = flops_by_operator(network, example)
    flops = sum(by_operator.values())
    attempt.profiles |= {f"flops_{operator}": Reading(count) for operator, count in by_operator.items()}
    if "target_flops" in factors:
        attempt.realised["target_flops"] = flops / unpruned_flops
    parameters = list(network.parameters())
    attempt.outcomes |= {
        "accuracy": Reading(accuracy),
        "loss": Reading(loss),
        "parameters": Reading(sum(tensor.numel() for tensor in parameters)),
        "nonzero_parameters": Reading(sum(int(tensor.count_nonzero()) for tensor in parameters)),
        "flops": Reading(flops),
        "flops_share": Reading(flops / unpruned_flops),
        "macs": Reading(flops / 2),
    }
    store.save(weights_id, network, {"factors": attempt.realised})


def _prune(
    network: torch.nn.Module, workload: Classifier, factors: Mapping[str, Level], example: torch.Tensor, train: Examples
) -> dict[str, Level]:
    """Prune as the factors say; gives what came about. Chance goes by seed: within a block, treatments differ by nothing else."""
    seed = seed_of("pruning", pretrained_id(workload, factors))
    ratio, target = float(factors.get("pruning_ratio", 0)), float(factors.get("target_flops", 1))
    method = str(factors.get("pruning_method", "l1_structured"))
    if target < 1:
        realised = prune_to_flops(network, method, target, example, seed, train)
    else:
        method = "none" if ratio == 0 else method
        realised = prune(network, method, ratio, example, seed, train)
    return {"pruning_ratio": realised, "pruning_method": method}


def _recover(
    network: torch.nn.Module, workload: Classifier, factors: Mapping[str, Level], train: Examples, test: Examples
) -> list[CurvePoint]:
    """Do to the pruned network what the factor `recovery` says; gives the curves of training, if there was any."""
    recovery = str(factors.get("recovery", "finetune"))
    identifier = pretrained_id(workload, factors)
    # Chance goes by seed: within a block, treatments see the same data in the same order.
    order = seed_of("finetuning", identifier)
    finetuning = workload.recipe("finetuning", factors)
    if recovery == "finetune":
        return fit(network, train, test, finetuning, "finetuning", order)
    if recovery == "from_scratch":
        pretraining = workload.recipe("pretraining", factors)
        draw_anew(network, workload.network(factors, seed_of("from_scratch", identifier)))
        recipe = replace(pretraining, epochs=pretraining.epochs + finetuning.epochs)
        return fit(network, train, test, recipe, "from_scratch", order)
    if recovery == "recalibrate_batch_norm":
        recalibrate_batch_norm(network, train.inputs, order)
    return []


def _pretrained(workload: Classifier, factors: Mapping[str, Level], store: WeightsStore) -> tuple[torch.nn.Module, list[CurvePoint]]:
    """The network before pruning, from the cache or trained now, with its curves."""
    identifier = pretrained_id(workload, factors)
    with store.making(identifier):
        failure = store.failure(identifier)
        if failure is None and not store.has(identifier):
            network = workload.network(factors, seed_of("network", identifier))
            workload.load_pretrained(network, factors)
            recipe = workload.recipe("pretraining", factors)
            order = seed_of("pretraining", identifier)
            try:
                curves = fit(network, workload.examples("train"), workload.examples("test"), recipe, "pretraining", order)
            except DivergedError as error:
                store.save_failure(identifier, {"status": "diverged", "epoch": error.epoch, "curves": error.curves})
                raise
            store.save(identifier, network, {"curves": curves})
    if failure is not None:
        raise DivergedError("pretraining", failure["epoch"], [CurvePoint(*point) for point in failure["curves"]])
    # read back even if just trained, so that both ways go on from the very same state
    return store.load(identifier, workload, factors), [CurvePoint(*point) for point in store.about(identifier)["curves"]]


def _seed(factors: Mapping[str, Level]) -> int:
    return int(factors.get("seed", 0))


def _one_cycle(share: float) -> float:
    """Share of the highest learning rate after a share of the steps: linear up, cosine down."""
    rise = 1 / 3
    return share / rise if share < rise else 0.5 * (1 + math.cos(math.pi * (share - rise) / (1 - rise)))
