"""The benchmark that trains a finished run further, with a higher penalty."""

import json
import sys
from pathlib import Path

import pytest
import torch
from small_runs import DEFAULT

from animegan_helpers import checkpoints, plotting
from animegan_helpers.speed import PLAIN
from animegan_helpers.trainer import Trainer
from animegan_helpers.training import train

STEPS = 6
RATE = 1e-3


@pytest.fixture
def finetune(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    import finetune

    monkeypatch.setattr(finetune, "SAVED_EVERY", 2)
    return finetune


@pytest.fixture
def run(faces, tmp_path):
    """The folder of a short run."""
    train(DEFAULT, faces, tmp_path / "run", steps=2)
    return tmp_path / "run"


def weights(network):
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_the_rate_is_constant_and_then_falls_toward_zero(finetune):
    rates = [finetune.rate_at(step, 100, RATE) for step in range(100)]
    assert set(rates[:51]) == {RATE}
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[-1] == pytest.approx(RATE / 50)


def test_every_setting_starts_from_the_run_and_goes_its_own_way(finetune, run, faces, tmp_path):
    first = {name: checkpoints.load(run / f"{name}.pth") for name in ("G", "D")}
    ends = []
    for i, setting in enumerate(finetune.SETTINGS):
        trainer = finetune.trainer_of(DEFAULT, setting, run, RATE, PLAIN)
        for name, network in (("G", trainer.G), ("D", trainer.D)):
            for key, value in network.state_dict().items():
                assert torch.equal(value, first[name][key])
        finetune.train_further(trainer, faces, STEPS, tmp_path / f"{i}.pt")
        assert trainer.steps_done == STEPS
        assert trainer.opt_g.param_groups[0]["lr"] == finetune.rate_at(STEPS - 1, STEPS, RATE)
        ends.append((trainer.recipe.r1, weights(trainer.D)))
    assert [weight for weight, _ in ends] == [DEFAULT.r1, finetune.WEIGHT, finetune.WEIGHT]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(ends[i][1], ends[j][1])


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_an_interrupted_setting_is_resumed(finetune, run, faces, tmp_path, monkeypatch, cut):
    whole = finetune.trainer_of(DEFAULT, "R1 of weight 16", run, RATE, PLAIN)
    finetune.train_further(whole, faces, STEPS, tmp_path / "whole.pt")
    step = Trainer.step

    def interrupted(trainer, images):
        if trainer.steps_done == cut:
            raise KeyboardInterrupt
        return step(trainer, images)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer = finetune.trainer_of(DEFAULT, "R1 of weight 16", run, RATE, PLAIN)
        finetune.train_further(trainer, faces, STEPS, tmp_path / "cut.pt")
    monkeypatch.setattr(Trainer, "step", step)
    again = finetune.trainer_of(DEFAULT, "R1 of weight 16", run, RATE, PLAIN)
    finetune.train_further(again, faces, STEPS, tmp_path / "cut.pt")
    for name in ("G", "D", "G_ema"):
        assert torch.equal(weights(getattr(whole, name)), weights(getattr(again, name)))


@pytest.fixture
def record_of(finetune, run, faces, tmp_path, monkeypatch):
    """-> a function: options of the command -> its record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plotting, "RECORDED", tmp_path)
    monkeypatch.setattr(finetune, "load_faces", lambda name: faces)
    monkeypatch.setattr(finetune, "sample", lambda G, count, seed: torch.zeros(count, 3, 64, 64))
    real = torch.zeros(8, 3, 64, 64)
    sets = {"other real faces": real, "this run": real + 1}
    monkeypatch.setattr(finetune, "compared_sets", lambda G, faces: (real, sets))
    monkeypatch.setattr(finetune, "distances", lambda a, b: {"FID": (a - b).abs().max().item()})

    def record(*options):
        command = ["finetune.py", str(run), "drawn", "--steps", "2", *options]
        monkeypatch.setattr(sys, "argv", command)
        finetune.main()
        assert (tmp_path / "finetune_faces.png").exists()
        return json.loads((tmp_path / "finetune.json").read_text(encoding="utf-8"))

    return record


def test_it_records_a_number_for_each_setting(finetune, record_of):
    record = record_of()
    distances = {name: row["FID"] for name, row in record["measures"].items()}
    expected = {"other real faces": 0, "before": 1} | dict.fromkeys(finetune.SETTINGS, 0)
    assert distances == expected
    assert (record["steps"], record["rate"], record["bfloat16"]) == (2, 5e-4, False)
    ending = "Then 2 steps at a learning rate of 0.0005 with R1 and R2 of weight 16."
    assert record["caption"].endswith(ending)


def test_rate_precision_and_settings_can_be_chosen(finetune, record_of, monkeypatch):
    trainers = []
    train_further = finetune.train_further

    def kept(trainer, *arguments):
        trainers.append(trainer)
        train_further(trainer, *arguments)

    monkeypatch.setattr(finetune, "train_further", kept)
    setting = "the recipe's penalty"
    record = record_of("--rate", "2e-4", "--bfloat16", "--settings", setting)
    assert list(record["measures"]) == ["other real faces", "before", setting]
    (trainer,) = trainers
    assert trainer.recipe.lr_g == trainer.recipe.lr_d == 2e-4
    assert trainer.speed.dtype == torch.bfloat16
    assert (record["rate"], record["bfloat16"]) == (2e-4, True)
