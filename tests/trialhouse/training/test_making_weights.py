"""Making weights: what lands, the same bits however it is cut, and what happens when it goes wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trialhouse.engine import outcomes, rows, tiny_study, trials_of
from trialhouse.settings import Settings, get_settings
from trialhouse.studies.catalogue import parse_study
from trialhouse.studies.designs import Trial
from trialhouse.studies.spec import Study
from trialhouse.training import weights as training
from trialhouse.training.weights import make_weights_for, pretrained_id
from trialhouse.workloads.registry import load_workload, make_workload
from trialhouse.workloads.weights import WeightsStore


def contents(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((home / "weights").glob("*.safetensors"))}


def by_cell(trials: list[Trial]) -> dict[tuple[Any, Any], str]:
    return {(trial.factors["pruning_ratio"], trial.factors["pruning_method"]): trial.weights_id for trial in trials}


def test_weights_land_with_outcomes_curves_and_realised_levels(home: Settings) -> None:
    study = tiny_study({"pretraining_epochs": 4})
    trials = trials_of(study)
    assert make_weights_for(study, trials) == {"ok": 3}
    cells = by_cell(trials)
    whole, structured, masked = (outcomes(home, cells[cell]) for cell in [(0, "none"), (0.6, "l1_structured"), (0.6, "l1_mask")])
    assert whole["accuracy"] > 0.9  # type: ignore[operator]
    assert structured["accuracy_before_finetuning"] < structured["accuracy"]  # type: ignore[operator]
    assert (whole["parameters"], structured["parameters"], masked["parameters"]) == (16130, 3002, 16130)
    assert (whole["flops"], structured["flops"], masked["flops"]) == (554560, 111232, 554560)
    assert whole["macs"] == 554560 / 2
    assert masked["nonzero_parameters"] == 16130 - round(0.6 * 720) - round(0.6 * 14400)
    curves = rows(home, "curves", cells[0, "none"])
    test_accuracy = {(row["phase"], row["step"]): row["value"] for row in curves if (row["split"], row["metric"]) == ("test", "accuracy")}
    assert list(test_accuracy) == [*(("pretraining", step) for step in (1, 2, 3, 4)), ("finetuning", 1)]
    assert test_accuracy["finetuning", 1] == whole["accuracy"]
    assert test_accuracy["pretraining", 4] == whole["accuracy_before_finetuning"]
    realised = {row["factor"]: row["realised"] for row in rows(home, "realised", cells[0.6, "l1_mask"])}
    assert realised["pruning_method"] == "l1_mask"
    assert float(realised["pruning_ratio"]) == pytest.approx(0.6, abs=1e-3)
    assert {row["metric"] for row in rows(home, "profiles", cells[0, "none"])} >= {"threads", "isa", "torch_version"}
    assert {row["unit_kind"] for row in rows(home, "attempts")} == {"weights"}


def test_the_same_bits_in_one_piece_in_parts_and_in_other_processes(home: Settings, tmp_path: Path) -> None:
    study = tiny_study(ratios=(0, 0.3, 0.6), methods=("random_structured",))
    trials = trials_of(study)
    assert make_weights_for(study, trials) == {"ok": 3}
    script = textwrap.dedent("""
        import sys
        import torch
        torch.set_num_threads(2)
        from pathlib import Path
        from tests.trialhouse.engine import tiny_study, trials_of
        from trialhouse.settings import Settings
        from trialhouse.training.weights import make_weights_for
        study = tiny_study(ratios=(0, 0.3, 0.6), methods=("random_structured",))
        counts = make_weights_for(study, trials_of(study), int(sys.argv[2]), 2, settings=Settings(home=Path(sys.argv[1])))
        assert set(counts) == {"ok"}, counts
    """)
    # two processes on other numbers of threads, which need the same pre-trained network at the same time
    root = Path(__file__).parents[2]
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "other"), str(part)], cwd=root) for part in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    ours, theirs = contents(home.home), contents(tmp_path / "other")
    assert len(ours) == 3 + 1
    assert ours == theirs
    for weights_id in by_cell(trials).values():
        assert outcomes(home, weights_id) == outcomes(Settings(home=tmp_path / "other"), weights_id)


def test_every_part_together_is_the_whole_and_neighbours_share_a_seed(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny_study(seeds=(0, 1, 2), ratios=(0, 0.3, 0.6))
    trials = trials_of(study)
    seeds: list[list[int]] = []

    def only_note(workload: Any, weights_id: str, factors: Mapping[str, Any], store: WeightsStore) -> Any:
        seeds[-1].append(factors["seed"])
        return training.Attempt("weights", weights_id, weights_id)

    monkeypatch.setattr(training, "_attempt", only_note)
    for part in range(3):
        seeds.append([])
        make_weights_for(study, trials, part, 3)
    assert [len(part) for part in seeds] == [5, 5, 5]
    assert all(len(set(part)) == 1 for part in seeds)
    assert len(rows(home, "attempts")) == 15


def test_what_landed_is_skipped_unless_asked_or_gone(home: Settings) -> None:
    study = tiny_study(ratios=(0, 0.9), methods=("l1_structured",))
    trials = trials_of(study)
    assert make_weights_for(study, trials) == {"ok": 2}
    assert make_weights_for(study, trials) == {"skipped": 2}
    before = contents(home.home)
    WeightsStore(home.weights_dir).path(trials[0].weights_id).unlink()
    assert make_weights_for(study, trials) == {"ok": 1, "skipped": 1}
    assert make_weights_for(study, trials, rerun=True) == {"ok": 2}
    assert contents(home.home) == before
    assert sorted(row["attempt"] for row in rows(home, "attempts", trials[0].weights_id)) == [1, 2, 3]


@pytest.mark.parametrize("phase", ["pretraining", "finetuning"])
def test_a_loss_that_is_no_number_is_divergence_and_is_not_tried_again(home: Settings, phase: str) -> None:
    study = tiny_study({f"{phase}_learning_rate": 1e38}, methods=("l1_structured",))
    trials = trials_of(study)
    assert make_weights_for(study, trials) == {"diverged": 2}
    for row in rows(home, "attempts"):
        assert row["status"] == "diverged"
        assert row["failure_reason"] == f"loss is not finite in epoch 1 of {phase}"
    assert {row["phase"] for row in rows(home, "curves")} == ({"pretraining"} if phase == "finetuning" else set())
    assert "accuracy" not in outcomes(home, trials[0].weights_id)
    assert not WeightsStore(home.weights_dir).has(trials[0].weights_id)
    assert make_weights_for(study, trials) == {"skipped": 2}


def test_a_crash_of_one_is_a_row_and_stops_no_other(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny_study(methods=("l1_structured",))
    trials = trials_of(study)
    real = training.prune

    def prune(network: Any, method: str, *arguments: Any) -> float:
        if method == "l1_structured":
            raise RuntimeError("the pruner\nbroke")
        return real(network, method, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "prune", prune)
        assert make_weights_for(study, trials) == {"ok": 1, "crashed": 1}
    crashed = by_cell(trials)[0.6, "l1_structured"]
    assert rows(home, "attempts", crashed)[0]["failure_reason"] == "RuntimeError: the pruner broke"
    assert make_weights_for(study, trials) == {"ok": 1, "skipped": 1}
    assert WeightsStore(home.weights_dir).failure(crashed) is None


def test_a_pretrained_network_is_made_once_for_all_its_weights(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny_study()
    phases: list[str] = []
    real = training.fit

    def fit(*arguments: Any) -> Any:
        phases.append(arguments[4])
        return real(*arguments)

    monkeypatch.setattr(training, "fit", fit)
    make_weights_for(study, trials_of(study))
    assert phases == ["pretraining", *["finetuning"] * 3]
    workload = load_workload(study)
    assert WeightsStore(home.weights_dir).has(pretrained_id(workload, {"seed": 0}))
    assert pretrained_id(workload, {"seed": 0}) != pretrained_id(workload, {"seed": 1})


def controls(**fields: Any) -> Study:
    """Every way of recovery of one pruned shape, random so that chance would show, beside the unpruned network."""
    content = tiny_study(methods=("random_structured", "random_mask")).content
    recovery = {
        "name": "recovery",
        "kind": "categorical",
        "levels": ["finetune", "from_scratch", "recalibrate_batch_norm", "none"],
        "applies_when": {"factor": "pruning_ratio", "above": 0},
        "otherwise": "finetune",
    }
    return parse_study({**content, "factors": [*content["factors"], recovery], **fields}, "tiny")


def test_controls_share_the_pruned_shape_and_differ_in_the_weights_alone(home: Settings) -> None:
    study = controls()
    trials = trials_of(study)
    assert make_weights_for(study, trials) == {"ok": 9}
    store, workload = WeightsStore(home.weights_dir), load_workload(study)
    for method, kept in (("random_structured", (32, 8)), ("random_mask", (80, 20))):
        ids = {trial.factors["recovery"]: trial.weights_id for trial in trials if trial.factors["pruning_method"] == method}
        networks = {recovery: store.load(weights_id, workload, {}) for recovery, weights_id in ids.items()}
        measured = {recovery: outcomes(home, weights_id) for recovery, weights_id in ids.items()}
        assert {(network.wide.out_channels, network.narrow.out_channels) for network in networks.values()} == {kept}
        pruned = networks["none"].narrow.weight
        assert torch.equal(networks["recalibrate_batch_norm"].narrow.weight, pruned)
        assert not torch.equal(networks["recalibrate_batch_norm"].narrow_norm.running_mean, networks["none"].narrow_norm.running_mean)
        for trained in ("finetune", "from_scratch"):
            same = networks[trained].narrow.weight == pruned
            assert torch.equal(same, pruned == 0)  # the mask, if any, is the same
        assert len({outcome["accuracy_before_finetuning"] for outcome in measured.values()}) == 1
        assert measured["none"]["accuracy"] == measured["none"]["accuracy_before_finetuning"]
        assert measured["finetune"]["accuracy"] > measured["none"]["accuracy"]  # type: ignore[operator]
        assert len({outcome["flops"] for outcome in measured.values()}) == 1
        epochs = {
            recovery: [
                (row["phase"], row["step"])
                for row in rows(home, "curves", weights_id)
                if row["metric"] == "loss" and row["split"] == "test"
            ]
            for recovery, weights_id in ids.items()
        }
        pretraining = [("pretraining", 1), ("pretraining", 2)]
        assert epochs["none"] == epochs["recalibrate_batch_norm"] == pretraining
        assert epochs["finetune"] == [*pretraining, ("finetuning", 1)]
        assert epochs["from_scratch"] == [*pretraining, *(("from_scratch", epoch) for epoch in (1, 2, 3))]
        realised = {row["realised"] for row in rows(home, "realised") if row["factor"] == "recovery"}
        assert realised == {"finetune", "from_scratch", "recalibrate_batch_norm", "none"}


def test_methods_at_the_same_flops(home: Settings) -> None:
    content = tiny_study().content
    factors = [
        content["factors"][0],
        {"name": "target_flops", "kind": "continuous", "levels": [0.4, 1]},
        {
            "name": "pruning_method",
            "kind": "categorical",
            "levels": ["l1_structured", "lamp"],
            "applies_when": {"factor": "target_flops", "below": 1},
            "otherwise": "none",
        },
    ]
    estimand = {"name": "effect", "treatment": "target_flops", "contrast": {"from": 1, "to": 0.4}, "outcome": "accuracy"}
    study = parse_study({**content, "factors": factors, "estimands": [estimand]}, "tiny")
    trials = trials_of(study)
    assert make_weights_for(study, trials) == {"ok": 3}
    realised = {
        (row["unit_id"], row["factor"]): row["realised_value"] if row["realised_value"] is not None else row["realised"]
        for row in rows(home, "realised")
    }
    ratios = {}
    for trial in trials:
        share = outcomes(home, trial.weights_id)["flops_share"]
        assert realised[trial.weights_id, "target_flops"] == share
        assert share == pytest.approx(trial.factors["target_flops"], abs=0.05)
        assert realised[trial.weights_id, "pruning_method"] == trial.factors["pruning_method"]
        ratios[trial.factors["pruning_method"]] = realised[trial.weights_id, "pruning_ratio"]
    assert ratios["none"] == 0
    assert 0 < ratios["l1_structured"] != ratios["lamp"] > 0


def test_a_target_out_of_reach_is_a_row_and_stops_no_other(home: Settings, caplog: pytest.LogCaptureFixture) -> None:
    content = tiny_study({"width": 4}).content
    target = {"name": "target_flops", "kind": "continuous", "levels": [0.01, 1]}
    estimand = {"name": "effect", "treatment": "target_flops", "contrast": {"from": 1, "to": 0.01}, "outcome": "accuracy"}
    study = parse_study({**content, "factors": [content["factors"][0], target], "estimands": [estimand]}, "tiny")
    trials = trials_of(study)
    assert make_weights_for(study, trials) == {"ok": 1, "crashed": 1}
    crashed = next(trial.weights_id for trial in trials if trial.factors["target_flops"] == 0.01)
    reason = rows(home, "attempts", crashed)[0]["failure_reason"]
    assert re.fullmatch(
        r"l1_structured must come within 0.05 of target_flops 0.01, got 0\.\d{3} at the nearest; choose another target or a wider network",
        reason,
    )
    assert all(record.exc_info is None for record in caplog.records)


def test_a_ratio_that_would_leave_no_channel_leaves_one_and_says_so(home: Settings) -> None:
    study = tiny_study(ratios=(0, 0.999), methods=("l1_structured",))
    trials = trials_of(study)
    assert make_weights_for(study, trials) == {"ok": 2}
    pruned = by_cell(trials)[0.999, "l1_structured"]
    assert outcomes(home, pruned)["parameters"] == 9 + 2 + 9 + 2 + 40 + 10
    realised = {row["factor"]: row["realised_value"] for row in rows(home, "realised", pruned)}
    assert realised["pruning_ratio"] == pytest.approx(0.98)


def test_threads_are_put_back(home: Settings) -> None:
    before = torch.get_num_threads()
    with training.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    assert get_settings().home == home.home


def test_weights_from_a_file_take_the_place_of_pretraining(home: Settings) -> None:
    given = make_workload("torchvision_cnn", {**TINY_NETWORK, "pretraining_epochs": 1})
    network = given.network({}, 3)
    path = home.home / "data" / "given.pt"
    path.parent.mkdir()
    torch.save(network.state_dict(), path)
    study = tiny_study(methods=("l1_mask",)).model_dump(mode="json", by_alias=True)
    study["workload"] = {"name": "torchvision_cnn", "settings": {**TINY_NETWORK, "weights": "given.pt", "finetuning_epochs": 1}}
    trials = trials_of(parse_study(study, "given"))
    assert make_weights_for(parse_study(study, "given"), trials) == {"ok": 2}
    cells = by_cell(trials)
    whole = outcomes(home, cells[0, "none"])
    expected, _ = training.evaluate(network, given.examples("test"))
    assert whole["accuracy_before_finetuning"] == expected
    assert {row["phase"] for row in rows(home, "curves", cells[0, "none"])} == {"finetuning"}


TINY_NETWORK = {"model": "resnet18", "width": 0.0625, "train_images": 20, "test_images": 20}
