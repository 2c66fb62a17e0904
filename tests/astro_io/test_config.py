"""TOML and overrides into frozen dataclasses."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from astro_io.config import config_to_dict, dump_config, load_config, rename_key
from astro_io.errors import ConfigError, InputNotFoundError


class Trunk(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, kw_only=True)
class Train:
    epochs: int = 10
    learning_rate: float = 1e-3
    schedule: tuple[tuple[str, float], ...] = (("heads", 1e-3),)
    dataset: Path | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"expected epochs of 1 or more, found {self.epochs}.")


@dataclass(frozen=True, kw_only=True)
class Model:
    backbone: Literal["resnet50", "resnet101"] = "resnet101"
    anchor_scales: tuple[int, ...] = (8, 16, 32)
    shape: tuple[int, float] = (512, 0.5)
    bands: tuple[str, ...] = ("g", "r", "z")
    weight_of: dict[str, float] = field(default_factory=dict)
    trunk: Trunk = Trunk.SMALL
    threshold: float | Literal["auto"] = "auto"
    name: str = "model"


@dataclass(frozen=True, kw_only=True)
class Config:
    SCHEMA_VERSION: ClassVar[int] = 3
    MIGRATIONS: ClassVar[dict[int, Any]] = {
        1: rename_key("train.learn_rate", "train.learning_rate"),
        2: rename_key("depth", "model.backbone"),
    }
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    seed: int = 0


@pytest.fixture
def toml(tmp_path):
    def write(text, name="run.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_no_file_gives_the_defaults():
    assert load_config(Config, None) == Config()


def test_file_fills_nested_sections(toml):
    path = toml(
        'seed = 7\n[model]\nbackbone = "resnet50"\nanchor_scales = [4, 8]\nshape = [256, 1]\n'
        'trunk = "large"\nthreshold = 0.5\nweight_of = {star = 2}\n'
        '[train]\ndataset = "sets/a.h5"\nlearning_rate = 1\nschedule = [["all", 1e-4], ["x", 2]]\n'
    )
    config = load_config(Config, path)
    assert config.seed == 7
    assert config.model == Model(
        backbone="resnet50",
        anchor_scales=(4, 8),
        shape=(256, 1.0),
        trunk=Trunk.LARGE,
        threshold=0.5,
        weight_of={"star": 2.0},
    )
    assert config.train.dataset == Path("sets/a.h5")
    assert config.train.learning_rate == 1.0 and isinstance(config.train.learning_rate, float)
    assert config.train.schedule == (("all", 1e-4), ("x", 2.0))


def test_unknown_key_names_file_section_and_the_likely_key(toml):
    path = toml("[train]\nlearn_rate = 0.1\n")
    text = r"^run\.toml \[train\]: unknown key 'learn_rate'; did you mean 'learning_rate'\?$"
    with pytest.raises(ConfigError, match=text):
        load_config(Config, path)


def test_unknown_key_of_another_section_is_sent_there(toml):
    with pytest.raises(
        ConfigError, match=r"run\.toml: unknown key 'epochs'; did you mean 'epochs' in \[train\]"
    ):
        load_config(Config, toml("epochs = 3\n"))


def test_unknown_key_without_a_likeness_lists_what_there_is(toml):
    with pytest.raises(ConfigError, match="unknown key 'qqq'; expected one of model, train, seed"):
        load_config(Config, toml("qqq = 3\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[train]\nepochs = "3"',
            r"run.toml \[train\]: expected epochs as a whole number, found '3'",
        ),
        ("[train]\nepochs = 3.0", "expected epochs as a whole number, found 3.0"),
        ("[train]\nepochs = true", "expected epochs as a whole number, found True"),
        ("[train]\nlearning_rate = false", "expected learning_rate as a number, found False"),
        ("[train]\nshuffle = 1", "expected shuffle as true or false, found 1"),
        ("[train]\ndataset = 3", "expected dataset as a path, found 3"),
        ("[train]\nschedule = 3", "expected schedule as a list, found 3"),
        (
            '[model]\nbackbone = "resnet52"',
            "backbone as one of resnet50, resnet101; found 'resnet52'. Did you mean 'resnet50'?",
        ),
        ("[model]\nshape = [1, 2, 3]", "expected shape as 2 values, found"),
        ('[model]\nthreshold = "never"', "expected threshold as a number or"),
        ("[model]\nweight_of = 3", r"expected weight_of as a section \[weight_of\], found 3"),
        (
            '[model.weight_of]\nstar = "x"',
            r"run.toml \[model.weight_of\]: expected star as a number",
        ),
        ("model = 3", r"run.toml: expected model as a section \[model\], found 3"),
        ("[seed]\nx = 1", "expected seed as a whole number, found a section"),
        ("[train]\nepochs = 0", r"run.toml \[train\]: expected epochs of 1 or more, found 0"),
        ("[train\nepochs", "run.toml: not valid TOML: .*line 1"),
    ],
)
def test_wrong_value_is_refused_with_its_place(toml, text, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        load_config(Config, toml(text))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputNotFoundError, match="none.toml: no such configuration file"):
        load_config(Config, tmp_path / "none.toml")


def test_missing_key_without_default_is_named():
    @dataclass(frozen=True, kw_only=True)
    class Needs:
        count: int

    # The annotation is resolved from a string, as in modules that postpone them.
    with pytest.raises(ConfigError, match="defaults: key 'count' is missing. Add it."):
        load_config(Needs, None)


def test_overrides_beat_the_file(toml):
    path = toml("seed = 1\n[train]\nepochs = 5\n")
    config = load_config(Config, path, ["train.epochs=3", "model.backbone=resnet50"])
    assert (config.seed, config.train.epochs, config.model.backbone) == (1, 3, "resnet50")


@pytest.mark.parametrize(
    ("item", "section", "key", "value"),
    [
        ("train.learning_rate=1e-4", "train", "learning_rate", 1e-4),
        ("train.shuffle=false", "train", "shuffle", False),
        ("train.dataset=/a b/set.h5", "train", "dataset", Path("/a b/set.h5")),
        ("model.anchor_scales=[1, 2]", "model", "anchor_scales", (1, 2)),
        ("model.anchor_scales=4,8", "model", "anchor_scales", (4, 8)),
        ("model.anchor_scales=4", "model", "anchor_scales", (4,)),
        ("model.bands=g,r", "model", "bands", ("g", "r")),
        ("model.bands=z", "model", "bands", ("z",)),
        ('model.bands=["z"]', "model", "bands", ("z",)),
        ("model.name=2019", "model", "name", "2019"),
        ("model.name=a=b", "model", "name", "a=b"),
        ('model.name="quoted"', "model", "name", "quoted"),
        ("model.weight_of={star = 2}", "model", "weight_of", {"star": 2.0}),
        ("model.weight_of.star=3", "model", "weight_of", {"star": 3.0}),
        ("model.threshold=0.3", "model", "threshold", 0.3),
        ("model.threshold=auto", "model", "threshold", "auto"),
    ],
)
def test_override_is_toml_or_plain_text(item, section, key, value):
    assert getattr(getattr(load_config(Config, None, [item]), section), key) == value


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train.epochs", "--set train.epochs: expected section.key=value"),
        ("=3", "--set =3: expected section.key=value"),
        (
            "train.epochs=many",
            "^--set train.epochs=many: expected epochs as a whole number, found 'many'",
        ),
        ("train.epoch=3", "^--set train.epoch=3: unknown key 'epoch'; did you mean 'epochs'"),
        ("trian.epochs=3", "^--set trian.epochs=3: unknown key 'trian'; did you mean 'train'"),
        ("train.epochs=0", "^--set train.epochs=0: expected epochs of 1 or more, found 0"),
    ],
)
def test_wrong_override_is_quoted(item, message):
    with pytest.raises(ConfigError, match=message):
        load_config(Config, None, [item])


def test_dump_and_load_are_inverse_for_non_default_values(toml):
    config = Config(
        model=Model(backbone="resnet50", shape=(7, 0.25), weight_of={"a": 1.0}, trunk=Trunk.LARGE),
        train=Train(epochs=2, dataset=Path("x.h5"), shuffle=False, schedule=(("q", 0.5),)),
        seed=5,
    )
    text = dump_config(config)
    assert text.startswith("schema_version = 3\n")
    assert load_config(Config, toml(text)) == config
    assert load_config(Config, toml(dump_config(Config()))) == Config()


def test_none_that_is_not_the_default_cannot_be_written():
    @dataclass(frozen=True, kw_only=True)
    class Limit:
        score: float | None = 0.5

    assert config_to_dict(Limit()) == {"score": 0.5}
    with pytest.raises(TypeError, match="Limit.score is None, which TOML cannot say"):
        config_to_dict(Limit(score=None))


def test_old_files_are_brought_up_to_date(toml):
    text = 'schema_version = {}\ndepth = "resnet50"\n[train]\nlearn_rate = 0.5\n'
    config = load_config(Config, toml(text.format(1)))
    assert (config.train.learning_rate, config.model.backbone) == (0.5, "resnet50")
    with pytest.raises(ConfigError, match="unknown key 'learn_rate'"):
        load_config(Config, toml(text.format(2)))


def test_migration_leaves_other_files_and_its_argument_alone():
    values = {"train": {"learn_rate": 1, "epochs": 2}}
    migrated = rename_key("train.learn_rate", "train.rate")(values)
    assert migrated == {"train": {"rate": 1, "epochs": 2}}
    assert values == {"train": {"learn_rate": 1, "epochs": 2}}
    assert rename_key("a.b", "c")({"a": 3}) == {"a": 3}


def test_file_of_the_future_is_refused(toml):
    with pytest.raises(ConfigError, match="written for schema_version 9, this program reads 3"):
        load_config(Config, toml("schema_version = 9\n"))
    with pytest.raises(ConfigError, match="expected schema_version as a whole number, found 'x'"):
        load_config(Config, toml('schema_version = "x"\n'))


def test_version_without_migration_is_too_old(toml):
    @dataclass(frozen=True, kw_only=True)
    class New:
        SCHEMA_VERSION: ClassVar[int] = 2
        x: int = 0

    with pytest.raises(ConfigError, match="schema_version 1 is too old; expected 2"):
        load_config(New, toml("schema_version = 1\n"))


def test_extending_file_lies_on_top_of_its_base(toml, tmp_path):
    (tmp_path / "base").mkdir()
    toml("seed = 1\n[train]\nepochs = 5\nshuffle = false\n", "base/base.toml")
    path = toml('extends = "base/base.toml"\n[train]\nepochs = 6\n')
    config = load_config(Config, path)
    assert (config.seed, config.train.epochs, config.train.shuffle) == (1, 6, False)


def test_extending_in_a_circle_or_nothing_is_refused(toml):
    toml('extends = "run.toml"\n', "other.toml")
    with pytest.raises(ConfigError, match="run.toml: extends itself through other.toml"):
        load_config(Config, toml('extends = "other.toml"\n'))
    with pytest.raises(InputNotFoundError, match=r"gone\.toml: .* \(extended by run\.toml\)"):
        load_config(Config, toml('extends = "gone.toml"\n'))
