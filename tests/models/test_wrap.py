"""Any network as a classifier: split at its head, trained, kept in a checkpoint, made again."""

import re
import sys

import numpy as np
import pytest
import torch
from conftest import make_processed
from torch import nn

from src import Evaluator, GradCAM, Trainer, create_data_loaders, get_target_layer
from src.config import TrainConfig
from src.errors import CheckpointError, ConfigError, UnknownNameError
from src.evaluation.open_checkpoint import load_trained
from src.models.checkpoint import load_checkpoint, save_checkpoint
from src.models.classifier import Classifier
from src.models.create import backbone_entry, create_model
from src.models.device import seed_everything
from src.models.torchvision_import import models
from src.models.wrap import wrap
from src.training.features import dataset_features


class Net(nn.Module):
    """Two convolutions of one grey channel; the head is not its last attribute."""

    def __init__(self, num_classes=4, channels=1):
        super().__init__()
        self.head = nn.Linear(5, num_classes)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 3, 3), nn.ReLU(), nn.Conv2d(3, 5, 3, stride=2)
        )
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.head(self.drop(self.body(x).mean(dim=(2, 3))))


class Volumes(nn.Module):
    """A network of volumes that ends in a convolution, so that nothing is its head."""

    def __init__(self, num_classes=2):
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 4, 3, 2), nn.Conv3d(4, num_classes, 1)

    def forward(self, x):
        return self.last(self.first(x).relu()).mean(dim=(2, 3, 4))


def function_in_a_function():
    return lambda num_classes: Net(num_classes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_processed(tmp_path_factory.mktemp("wrap") / "phantom_2d")


@pytest.fixture
def loaders(data):
    return create_data_loaders(data, "phantom", "2d", 8)


def test_logits_are_the_networks_own_and_its_last_layer_is_the_head():
    net = Net().eval()
    own, x = wrap(net, mean=0.2, std=0.5), torch.rand(3, 1, 40, 36)
    assert own.head is net.head
    assert own.embed(x).shape == (3, 5)
    torch.testing.assert_close(own(x), net((x - 0.2) / 0.5))
    assert (own.cam_layer, own.dim, own.num_classes) == ("features.body", "2d", 4)


def test_the_network_stays_whole_and_shares_what_is_learnt():
    net = Net().eval()
    own, names = wrap(net), list(net.state_dict())
    with torch.no_grad():
        own.features.body[0].weight.add_(1)
        own.head.bias.add_(1)
    x = torch.rand(2, 1, 30, 33)
    torch.testing.assert_close(own(x), net(own.normalise(x)))
    assert list(net.state_dict()) == names


def test_a_network_that_ends_otherwise_has_its_logits_as_features():
    net = Volumes().eval()
    own, x = wrap(net), torch.rand(2, 1, 13, 11, 12)
    assert own.dim == "3d"
    torch.testing.assert_close(own(x), net(own.normalise(x)))
    assert own.embed(x).shape == (2, 2)


def test_a_grey_image_is_shown_in_three_channels_and_three_are_taken():
    net = models.mobilenet_v3_small(num_classes=4).eval()
    own, grey = wrap(net), torch.rand(1, 1, 64, 48)
    torch.testing.assert_close(own(grey), own(grey.expand(-1, 3, -1, -1)))
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    torch.testing.assert_close(own(grey), net((grey - mean) / std))
    cam = GradCAM(net, get_target_layer(net)).generate_cam(torch.rand(1, 3, 96, 64))
    assert cam.shape == (96, 64)


def test_a_network_that_was_trained_is_explained_as_it_was_trained():
    net = models.mobilenet_v3_small(num_classes=4).eval()
    own, grey = wrap(net), torch.rand(1, 1, 64, 48)
    layer = net.features[8]
    found = GradCAM(net, layer).generate_cam(grey, 1)
    np.testing.assert_allclose(found, GradCAM(own, layer).generate_cam(grey, 1), atol=1e-5)
    shown = own.normalise(grey)
    np.testing.assert_allclose(found, GradCAM(net, layer).generate_cam(shown, 1), atol=1e-5)


def test_images_are_resized_where_it_is_asked_for():
    own = wrap(Net(), size=(20, 24)).eval()
    assert own.normalise(torch.rand(2, 1, 40, 36)).shape == (2, 1, 20, 24)


def test_a_batch_norm_that_learns_slowly_is_told(caplog):
    wrap(models.mobilenet_v3_small, 4)
    assert "moves its means by 0.01 a batch" in caplog.text
    caplog.clear()
    wrap(Net())
    assert "batch norm" not in caplog.text


def test_it_is_left_in_the_mode_that_it_had():
    net = Net().train()
    net.body.eval()
    before = [module.training for module in net.modules()]
    wrap(net)
    assert [module.training for module in net.modules()] == before


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (
            lambda: wrap(Net(7), 4),
            "gives 7 logits, the data have 4",
            r"network\.head = .*\(5, 4",
        ),
        (lambda: wrap(Net(channels=5)), "Net takes 5 channels", "leave channels out"),
        (lambda: wrap(Net(), channels=3), "Net takes 1 channels, not 3", "leave channels out"),
        (lambda: wrap(nn.Flatten()), "Flatten has no weights", "can be trained"),
        (lambda: wrap(Net().body), r"Sequential gives \(2, 5, .*, not logits", "one score a class"),
        (lambda: wrap(5), "takes a network, found an int", "create_model"),
        (lambda: wrap(Net(), size=(1, 2, 3)), "2d images have 2 edges of 8", "size="),
        (lambda: wrap(Net(), std=0), "one finite number", "std="),
        (lambda: wrap(Net(), mean=(1, 2)), "one finite number", "mean="),
        (
            lambda: wrap(Net(), target_layer=nn.ReLU()),
            "no part of the network",
            "get_sub",
        ),
        (lambda: wrap(Net(), made_by=Volumes), "makes another network", "leave made_by out"),
        (lambda: wrap(Net(), made_by="no.such:thing"), "cannot be imported", "package.module:name"),
        (lambda: wrap(Net(), made_by="a b:c"), "names nothing that can be imported", "package.mod"),
        (lambda: wrap(lambda num_classes: 3, 4), "returns a int, not a network", "nn.Module"),
        (lambda: wrap(lambda: 1 / 0), "makes no network: division by zero", r"def <lambda>"),
        (
            lambda: wrap(nn.Sequential(nn.Conv2d(1, 2, 9), nn.Flatten(), nn.Linear(9, 2))),
            "Sequential cannot take images of 1 x 224 x 224: mat1 and mat2",
            "size=",
        ),
    ],
)
def test_what_cannot_be_wrapped_is_told_in_a_sentence(make, said, hint):
    with pytest.raises(ConfigError, match=said) as told:
        make()
    assert len(str(told.value).splitlines()) == 2
    assert re.search(hint, told.value.hint)


def test_an_unknown_layer_is_told_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'body'"):
        wrap(Net(), target_layer="bodi")


def test_without_a_map_there_is_no_layer():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(ConfigError, match="no layer of Sequential gives a map"):
        get_target_layer(wrap(net, size=(8, 8)))


@pytest.mark.slow
def test_a_network_goes_through_training_scores_and_its_checkpoint(loaders, tmp_path):
    train, test = loaders
    net = Net()
    trainer = Trainer(net, train, test, "cpu", config=TrainConfig(epochs=1, precision="fp32"))
    trainer.train(save_dir=tmp_path)
    scored = Evaluator(net, test, "cpu", n_bootstrap=100)
    assert scored.model is trainer.model  # with the calibration of its training
    path = tmp_path / "best_model.pth"
    with pytest.raises(CheckpointError, match="does not say what makes it"):
        load_trained(path)
    again, _ = load_trained(path, network=Net)
    x = torch.rand(2, 1, 40, 36)
    torch.testing.assert_close(again(x), trainer.model(x))
    assert again.calibration == trainer.model.calibration
    with pytest.raises(CheckpointError, match="SqueezeNet takes 3 channels, not 1"):
        load_trained(path, network=models.squeezenet1_1)


@pytest.fixture(scope="module")
def of_torchvision(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("of_torchvision")
    (train,) = create_data_loaders(data, "phantom", "2d", 8, splits=("train",))
    own = wrap(models.mobilenet_v3_small, 4)
    config = TrainConfig(epochs=1, precision="fp32")
    Trainer(own, train, None, "cpu", config=config).train(save_dir=folder)
    return folder / "best_model.pth"


@pytest.mark.slow
def test_a_checkpoint_names_what_makes_its_network(of_torchvision, tmp_path):
    model, content = load_trained(of_torchvision)
    assert content["network"]["made_by"] == "torchvision.models.mobilenetv3:mobilenet_v3_small"
    assert model.backbone == "mobilenet_v3_small"
    for made_by in ("os:abort", "torchvision.models:sys.exit", "shutil:rmtree", "no_such:net"):
        whole = load_checkpoint(of_torchvision)
        whole["network"]["made_by"] = made_by
        with pytest.raises(CheckpointError, match=f"which {made_by} makes"):
            load_trained(save_checkpoint(tmp_path / "x.pth", whole))
    assert "no_such" not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        {"mean": "x"},
        {"size": [1, 2, 3, 4]},
        {"made_by": 5},
        {"target_layer": []},
        {"std": [None]},
    ],
)
def test_a_damaged_description_is_refused(of_torchvision, tmp_path, damage):
    whole = load_checkpoint(of_torchvision)
    whole["network"] |= damage
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(save_checkpoint(tmp_path / "x.pth", whole))


def test_a_maker_that_nothing_can_import_is_not_named():
    assert wrap(function_in_a_function(), 4).network["made_by"] is None
    assert wrap(Net, 4).network["made_by"] == f"{__name__}:Net"


def test_create_model_takes_what_can_be_imported():
    model = create_model("2d", f"{__name__}:Net", 3, freeze_backbone=True)
    assert model.num_classes == 3
    assert [p.requires_grad for p in model.head.parameters()] == [True, True]
    assert not any(p.requires_grad for p in model.features.body.parameters())
    for more, said in (
        ({"model_dim": "3d"}, "makes a network of 2d images, the data are 3d"),
        ({"ordinal": True}, "without an ordinal head"),
        ({"weights": "imagenet"}, "for backbones of this project"),
    ):
        with pytest.raises(ConfigError, match=said):
            create_model(**{"model_dim": "2d", "backbone": f"{__name__}:Net"} | more)


def test_a_model_made_twice_is_the_same_one_and_disturbs_nobody():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two = (create_model("3d", "simple", 2) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(a.equal(b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    seed_everything(0)  # as a training does before it makes its network
    plain = Classifier(backbone_entry("simple"), 2)
    assert all(a.equal(b) for a, b in zip(one.parameters(), plain.parameters(), strict=True))
    other = create_model("3d", "simple", 2, seed=1)
    assert not other.head.weight.equal(one.head.weight)


class Squared(Net):
    """The weights of `Net`, and other features of them."""

    def forward(self, x):
        return self.head(self.body(x).square().mean(dim=(2, 3)))


@pytest.mark.slow
def test_features_are_kept_by_all_that_they_depend_on(data):
    (train,) = create_data_loaders(data, "phantom", "2d", 8, splits=("train",))
    torch.manual_seed(0)
    net, other = Net().eval(), Squared().eval()
    other.load_state_dict(net.state_dict())
    cpu, images = torch.device("cpu"), train.dataset[0][0][None]
    for made in (wrap(net), wrap(net, mean=0.1), wrap(net, size=(20, 24)), wrap(other)):
        made.backbone = "Net"
        found = dataset_features(made.eval(), train.dataset, cpu)
        wanted = made.embed(images.float() / 255).detach().numpy()
        np.testing.assert_allclose(found[:1], wanted, atol=1e-5)
