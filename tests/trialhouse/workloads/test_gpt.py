"""Language models as learners: tokens are counted, quality is set, and a trial comes to all that it promises."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from trialhouse.errors import WorkloadError
from trialhouse.learning.engine import Note
from trialhouse.learning.text import Windows
from trialhouse.settings import Settings
from trialhouse.studies.spec import Factor
from trialhouse.training.threads import one_thread
from trialhouse.workloads.gpt import GPT
from trialhouse.workloads.protocol import Lesson

CONTEXT = 32
SMALL = {"corpus": "folder", "folder": "code", "context": CONTEXT, "width": 16, "depth": 1, "steps": 30, "test_tokens": 4000}


@pytest.fixture
def code(home: Settings) -> Path:
    """Sixty files of little programs with all kinds of brackets."""
    chance = random.Random(0)
    folder = home.home / "data" / "code"
    folder.mkdir(parents=True)
    statements = ["if x in [1]:\n", "y = {2: f(3)}\n", "return not (a or b)\n", "for i in r(4):\n", "z = [c[0]]\n", "d = {}\n"]
    for number in range(60):
        (folder / f"{number}.py").write_text("".join(chance.choice(statements) for _ in range(100)))
    return folder


def gpt(**settings: Any) -> GPT:
    return GPT({**SMALL, **settings})


def training(workload: GPT, **factors: Any) -> Windows:
    data = workload.data(workload._of_trial(factors))[0]
    assert isinstance(data, Windows)
    return data


def learn(workload: GPT, note: Note = lambda step, values: None, **factors: Any) -> Lesson:
    with one_thread():
        return workload.learn(factors, note, 60)


def starts(data: Windows) -> list[int]:
    return data.starts.tolist()


def test_n_train_counts_tokens_and_smaller_sets_are_part_of_larger_ones(code: Path) -> None:
    workload = gpt()
    small, large = training(workload, n_train=10 * CONTEXT), training(workload, n_train=40 * CONTEXT + 5)
    assert (len(small), len(large)) == (10, 40)
    assert starts(small) == starts(large)[:10]
    assert len(set(starts(large))) == 40
    assert starts(training(workload, n_train=10 * CONTEXT, seed=1)) != starts(small)
    assert workload.plan({"n_train": 40 * CONTEXT + 5}).realised == {"n_train": 40 * CONTEXT}
    realised = workload.plan({"n_train": 80 * CONTEXT, "epochs": 3}).realised
    assert realised == {"n_train": 80 * CONTEXT, "epochs": 3}  # 30 steps of 8 windows


def test_repeats_take_the_place_of_unique_text_at_the_same_total(code: Path) -> None:
    workload = gpt()
    once, often = training(workload, n_train=80 * CONTEXT), training(workload, n_train=80 * CONTEXT, unique_share=0.25)
    assert len(often) == len(once) == 80
    assert starts(often) == starts(once)[:20] * 4


def test_corruption_is_a_share_of_the_training_text_and_larger_ones_hold_smaller_ones(code: Path) -> None:
    workload = gpt()
    clean, some, more = (training(workload, corruption=share).tokens for share in (0, 0.1, 0.4))
    symbols = len(workload._alphabet)
    for tokens, share in ((some, 0.1), (more, 0.4)):
        changed = share * (symbols - 1) / symbols  # a symbol that is drawn anew may be the one that was there
        deviation = math.sqrt(changed * (1 - changed) / len(clean))
        assert abs(float((tokens != clean).float().mean()) - changed) < 4 * deviation
        assert int(tokens.max()) < symbols
    assert bool(((some == clean) | (some == more)).all())
    settings = [workload._of_trial({"corruption": share}) for share in (0, 0.4)]
    for split in (1, 2):
        first, second = (workload.data(item)[split].batch(torch.arange(3)) for item in settings)
        assert torch.equal(first[0], second[0])


def test_a_network_learns_and_all_that_is_promised_is_told(code: Path) -> None:
    workload = gpt(capabilities=("next_token_accuracy", "minimal_pairs"))
    points: list[tuple[int, float]] = []
    factors = {"steps": 120, "n_train": 240 * CONTEXT}
    lesson = learn(workload, lambda step, values: points.append((step, values["validation", "loss"])), **factors)
    found = lesson.outcomes
    assert set(found) == workload.outcomes
    assert lesson.missing == {}
    assert found["loss"] < 0.7 * points[0][1]
    assert found["capability_next_token_accuracy"] == found["accuracy"]
    assert found["capability_minimal_pairs"] > 0.6
    assert found["tokens_seen"] == 120 * 8 * CONTEXT
    assert found["epochs_seen"] == 4
    assert lesson.realised == factors
    again = learn(workload, **factors).outcomes
    assert {**found, "training_s": 0} == {**again, "training_s": 0}


def test_what_cannot_be_examined_is_missing_with_a_reason(home: Settings) -> None:
    (home.home / "data").mkdir()
    lines = [json.dumps({"text": f"{number} bottles of beer on the wall. " * 30}) for number in range(100)]
    (home.home / "data" / "songs.jsonl").write_text("\n".join(lines))
    lesson = learn(gpt(folder="songs.jsonl", capabilities=("bracket_choice", "copying")), steps=2)
    assert set(lesson.missing) == {"capability_bracket_choice"}
    assert "capability_copying" in lesson.outcomes


def test_what_a_folder_holds_determines_a_trial_and_not_where_it_is(code: Path) -> None:
    identity = gpt().identity()
    code.rename(code.with_name("moved"))
    assert gpt(folder="moved").identity() == identity
    (code.with_name("moved") / "more.py").write_text("more\n")
    assert gpt(folder="moved").identity().data_checksum != identity.data_checksum


def test_widths_are_whole_heads_also_where_they_are_solved_for(code: Path) -> None:
    workload = gpt(head_size=8)
    target = workload.sizes(workload._of_trial({"width": 40})).parameters
    assert workload._solved({"parameters": target})[0].width == 40
    with pytest.raises(WorkloadError, match=r"some width must have .* parameters within 5% at depth 1, got .* at width"):
        workload.plan({"parameters": round(1.2 * target)})


def test_bytes_are_tokens_on_request(code: Path) -> None:
    workload = gpt(vocabulary="bytes")
    (code / "accents.py").write_text("é" * 5000)
    assert workload.sizes(workload.settings).parameters > gpt().sizes(gpt().settings).parameters
    assert int(training(workload).tokens.max()) > 127


@pytest.mark.parametrize(
    ("settings", "factors", "message"),
    [
        ({"width": 20}, {}, "width must be a multiple of head_size 16, got 20; fix workload.settings"),
        ({}, {"width": 24}, "width must be a multiple of head_size 16, got 24; fix workload.settings"),
        ({"folder": None}, {}, "corpus 'folder' and folder go together, got corpus 'folder' with folder None"),
        ({"corpus": "stdlib"}, {}, "corpus 'folder' and folder go together, got corpus 'stdlib' with folder 'code'"),
        ({"folder": "nowhere"}, {}, "got no such file or folder"),
        ({}, {"n_train": 10**9}, "tokens that there are, got 1,000,000,000; lower n_train"),
        ({}, {"n_train": 5}, "n_train must be at least the 32 tokens of one example, got 5; raise n_train"),
        ({"context": 8000}, {}, "split must have a window of 8001 tokens, got "),
        ({"capabilities": ["clean_accuracy"]}, {}, "must be about text, got 'clean_accuracy', which is about images"),
        ({"corruption": 1.5}, {}, "'corruption'"),
    ],
)
def test_what_cannot_be_had_is_one_line(code: Path, settings: dict[str, Any], factors: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        gpt(**settings).plan(factors)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_which_text_it_is_is_no_factor(code: Path) -> None:
    with pytest.raises(WorkloadError, match="all trials of a study must use the same data, got the factor 'vocabulary'; make it a setting"):
        gpt().check([Factor(name="vocabulary", kind="categorical", levels=("bytes", "characters"))])


def test_networks_that_train_together_come_to_what_each_comes_to_alone(code: Path) -> None:
    workload = gpt(capabilities=("minimal_pairs",), schedule="constant", n_train=80 * CONTEXT)
    trials = [{"seed": seed, "corruption": share, "steps": 6} for seed, share in ((0, 0.0), (1, 0.3))]
    assert len({workload.together_key(factors) for factors in trials}) == 1
    alone = [learn(workload, **factors).outcomes for factors in trials]
    with one_thread():
        together = workload.learn_together(trials, [lambda step, values: None] * 2, torch.device("cpu"), 60)
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, Lesson)
        assert other.outcomes["loss"] == pytest.approx(one["loss"], rel=1e-3)  # single precision, six steps
        assert other.outcomes["capability_minimal_pairs"] == pytest.approx(one["capability_minimal_pairs"], abs=0.05)
