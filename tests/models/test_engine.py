"""Features by the inference engine: equal to torch's, and torch's wherever they are not."""

from __future__ import annotations

import logging
import os
import sys

import pytest
import torch
from torch import nn

from src.errors import ConfigError
from src.models import engine
from src.models.create import create_model
from src.models.engine import Pass

SHAPE = (1, 64, 48)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No engine of other tests, and one is worth making for small images too."""
    monkeypatch.setattr(engine, "_sessions", engine.OrderedDict())
    monkeypatch.setattr(engine, "_said", set())
    monkeypatch.setattr(engine, "WORTH", 1)


def network(backbone="resnet18", dim="2d"):
    """Return a network whose features differ from image to image and place to place."""
    model = create_model(dim, backbone, 3, weights="none")
    for module in model.modules():  # running statistics that no batch norm would give by itself
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def said(caplog):
    """Return what the engine logged."""
    return [one.getMessage() for one in caplog.records if one.name == engine.__name__]


def plain(model, images):
    with torch.no_grad():
        return model.embed(images)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    [
        *("resnet18", "resnet50", "efficientnet_b0", "densenet121", "efficientnet_lite0"),
        *("vit_b_16", "vit_conv"),
    ],
)
def test_every_backbone_of_slices_gives_the_same_features(backbone):
    model = network(backbone).to(memory_format=torch.channels_last)
    images, run = torch.rand(5, *SHAPE), Pass(model, 5)
    found = torch.cat([run.embed(part) for part in torch.split(images, 2)])  # the last is smaller
    assert run._session is not None
    expected = plain(model, images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert not torch.equal(found[0], found[1])
    assert not found.requires_grad


def test_logits_and_bytes():
    model = network()
    nn.init.normal_(model.head.weight)
    images, run = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8), Pass(model, 3)
    run.embed(images[:1])
    with torch.no_grad():
        torch.testing.assert_close(run.logits(images), model(images), rtol=1e-4, atol=1e-4)
    assert run._session is not None
    assert run.logits(images[:0]).shape == (0, 3)


def test_few_images_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(engine, "WORTH", 10 * 64 * 48)
    model, images = network(), torch.rand(2, *SHAPE)
    few, many = Pass(model, 9), Pass(model, 10)
    assert torch.equal(few.embed(images), plain(model, images))
    many.embed(images)
    assert few._session is None
    assert many._session is not None


def test_volumes_are_left_to_torch():
    model, images = network("simple", "3d"), torch.rand(2, 1, 24, 28, 22)
    run = Pass(model, 1000)
    assert torch.equal(run.embed(images), plain(model, images))
    assert run._session is None


def test_other_precisions_and_training_are_left_to_torch():
    model, images = network(), torch.rand(2, *SHAPE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Pass(model, 9).embed(images)
    Pass(model.double(), 9).embed(images.double())
    Pass(model.float().train(), 9).embed(images)
    assert not engine._sessions


def test_images_of_another_kind_are_refused_as_by_torch():
    run = Pass(network(), 9)
    run.embed(torch.rand(1, *SHAPE))
    with pytest.raises(ConfigError, match="takes"):
        run.embed(torch.rand(1, 3, 64, 48))
    with pytest.raises(ConfigError, match="floating-point"):
        run.embed(torch.ones(1, *SHAPE, dtype=torch.int64))


def test_images_of_another_size_have_an_engine_of_their_own():
    model = network()
    run = Pass(model, 9)
    for shape in ((1, 64, 48), (1, 48, 80)):
        images = torch.rand(2, *shape)
        run.embed(images)
        torch.testing.assert_close(run.embed(images), plain(model, images), rtol=1e-4, atol=1e-4)
    assert len(engine._sessions) == 2


def test_features_that_differ_are_not_used(monkeypatch, caplog):
    model, images = network(), torch.rand(2, *SHAPE)
    run_right = engine._run
    monkeypatch.setattr(engine, "_run", lambda *given: run_right(*given) * 1.001)
    with caplog.at_level(logging.INFO, logger="src"):
        run = Pass(model, 9)
        for _ in range(2):
            assert torch.equal(run.embed(images), plain(model, images))
        Pass(model, 9).embed(images)
    assert len(said(caplog)) == 1
    assert "its features of resnet18 differ by 1.0e-03" in caplog.text


def test_weights_that_are_no_numbers_give_what_torch_gives():
    model = network()
    nn.init.constant_(model.features.conv1.weight, torch.nan)
    run = Pass(model, 9)
    assert run.embed(torch.rand(2, *SHAPE)).isnan().all()
    assert run._session is None


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_package_torch_computes_and_a_line_says_so(package, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, package, None)
    model, images = network(), torch.rand(2, *SHAPE)
    with caplog.at_level(logging.INFO, logger="src"):
        assert torch.equal(Pass(model, 9).embed(images), plain(model, images))
    assert len(said(caplog)) == 1
    assert "torch computes" in caplog.text
    assert package in caplog.text


@pytest.mark.slow
def test_an_engine_is_found_again_by_its_weights_and_few_are_kept():
    images = torch.rand(1, *SHAPE)
    model = network()
    first, again = Pass(model, 9), Pass(model, 9)
    first.embed(images)
    model.embed = lambda x: pytest.fail("torch was asked again")
    again.embed(images)
    del model.embed
    assert first._session is again._session is not None
    with torch.no_grad():
        model.features.conv1.weight.mul_(2)
    changed = Pass(model, 9)
    changed.embed(images)
    assert changed._session is not first._session
    torch.testing.assert_close(changed.embed(images), plain(model, images), rtol=1e-4, atol=1e-4)
    Pass(network(), 9).embed(images)
    assert len(engine._sessions) == engine._KEPT == 2


@pytest.mark.slow
def test_the_engine_has_the_threads_of_torch_and_none_of_another_process(monkeypatch):
    images, model, before = torch.rand(1, *SHAPE), network(), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run = Pass(model, 9)
            run.embed(images)
            options = run._session.get_session_options()
            assert options.intra_op_num_threads == threads
            assert options.inter_op_num_threads == 1
    finally:
        torch.set_num_threads(before)
    run = Pass(model, 9)
    run.embed(images)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a forked process
    forked = Pass(model, 9)
    forked.embed(images)
    assert forked._session is not run._session


def test_exporting_leaves_the_network_as_it_was():
    model = network().to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.rand(2, *SHAPE)
    expected = plain(model, images)
    Pass(model, 9).embed(images)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(plain(model, images), expected)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_hash_is_of_weights_and_running_statistics():
    model = network()
    first = engine.digest(model)
    assert engine.digest(model) == first
    model.features.bn1.running_mean[3] += 1e-3
    assert engine.digest(model) != first
