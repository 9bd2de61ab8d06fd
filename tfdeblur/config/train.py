"""The configuration of a training run: one typed, frozen tree.

Precedence: defaults < recipe < ``--config`` file < command line. The tree is read in two stages:
the core, then the options of the plug-ins it names; the errors of both are reported together.
This module imports neither TensorFlow nor Keras, so that ``--help`` is quick.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from tfdeblur.config import recipes, settings
from tfdeblur.config.fields import Duration, Interval, Keep, Period, Size
from tfdeblur.config.guards import Guards
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import ConfigError
from tfdeblur.registry import Registry, did_you_mean

CONFIG_FILE = "config.yaml"
"""Name of the resolved configuration in a work directory."""

MODELS = Registry(
    "tfdeblur.models",
    "model",
    ("blocks", "generator", "layers", "layers_tensorflow", "local_pooling"),
)
CRITICS = Registry("tfdeblur.models.critics", "critic", ("critic",))
OBJECTIVES = Registry(
    "tfdeblur.objectives",
    "objective",
    ("adversarial", "content_losses", "objective", "wasserstein"),
)

# Sections of the tree whose `name` chooses a plug-in, and where to find it.
PLUG_INS = {"model": MODELS, "critic": CRITICS, "objective": OBJECTIVES}

# Judges restored images where the objective asks for one and none is named.
DEFAULT_CRITIC = "patch_gan"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlugIn:
    """A plug-in by name, with its options still as plain values."""

    name: Annotated[str, Field(description="name of the plug-in")]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> "PlugIn":
        """Splits ``{name: unet16, width: 8}`` into the name and the options."""
        options = {key: value for key, value in section.items() if key != "name"}
        return cls(name=str(section["name"]), options=options)

    def section(self) -> dict[str, Any]:
        """Returns the flat section again, as YAML holds it."""
        return {"name": self.name, **settings.to_plain(self.options)}


# ------------------------------------------------------------------------------------- the sections


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is read and how samples are made of it."""

    paths: Annotated[
        tuple[str, ...], Field(description="folders made by data_prep.build; several are mixed")
    ] = ()
    weights: Annotated[
        tuple[float, ...] | None,
        Field(description="how often each folder is drawn from; by its size where not given"),
    ] = None
    split: Annotated[str, Field(description="split that is trained on")] = "train"
    crop: Annotated[
        Size | None,
        Field(description="random crop, 256 or WIDTHxHEIGHT; the whole tile where not given"),
    ] = None
    horizontal_flips: Annotated[bool, Field(description="mirror half of the pairs")] = True
    vertical_flips: Annotated[bool, Field(description="turn half upside down")] = True
    quarter_turns: Annotated[bool, Field(description="rotate by 0, 90, 180 or 270 degrees")] = False
    shuffle_block: Annotated[
        int | None,
        Field(
            ge=1,
            description="records that are permuted among each other; by their size where not given",
        ),
    ] = None
    parts: Annotated[
        int,
        Field(
            ge=1,
            description="divide each data set by file: hosts whose number divides this one read "
            "only their own files",
        ),
    ] = 1
    cache: Annotated[bool, Field(description="keep the records in memory")] = False
    train_on_test: Annotated[
        bool, Field(description="allow training on the test split, which networks are judged by")
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How gradients become updates."""

    name: Annotated[Literal["adam", "adamw", "rmsprop"], Field(description="the update rule")] = (
        "adam"
    )
    learning_rate: Annotated[float, Field(gt=0, description="peak learning rate")] = 1e-3
    beta_1: Annotated[float, Field(ge=0, lt=1, description="Adam's first momentum")] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1, description="Adam's second momentum")] = 0.999
    rho: Annotated[float, Field(ge=0, lt=1, description="RMSprop's decay")] = 0.9
    epsilon: Annotated[float, Field(gt=0, description="added to the denominator")] = 1e-7
    weight_decay: Annotated[float, Field(ge=0, description="decoupled weight decay (adamw)")] = 0.0
    clip_norm: Annotated[
        float | None, Field(gt=0, description="largest global norm of the gradient")
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate moves with the images seen."""

    name: Annotated[
        Literal["constant", "step", "exponential", "linear", "cosine"],
        Field(
            description="constant; step: x factor every `every`; exponential: flat until `start`, "
            "then x factor every `every` smoothly; linear: flat until `start`, then to `final` at "
            "the end; cosine: to `final` at the end"
        ),
    ] = "constant"
    warmup: Annotated[Duration, Field(description="linear rise from 0 at the beginning")] = (
        "0 images"
    )
    start: Annotated[Duration, Field(description="when the decay begins")] = "0 images"
    every: Annotated[
        Period | None, Field(description="interval of the decay (step, exponential)")
    ] = None
    factor: Annotated[
        float, Field(gt=0, le=1, description="multiplies the rate at each interval")
    ] = 0.5
    drop: Annotated[
        float, Field(gt=0, le=1, description="multiplies the rate once, at `start`")
    ] = 1.0
    final: Annotated[
        float, Field(ge=0, description="rate at the end of training (linear, cosine)")
    ] = 0.0

    def __post_init__(self) -> None:
        if self.name in ("step", "exponential") and self.every is None:
            raise ValueError(f"schedule {self.name!r} needs `every`, such as '5 epochs'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlayerConfig:
    """Settings of one player (a network with its optimizer) where they differ."""

    optimizer: OptimizerConfig | None = None
    schedule: ScheduleConfig | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, in what batches, and from where."""

    duration: Annotated[
        Period, Field(description="length of the run: 'N epochs', 'N steps' or 'N images'")
    ] = "100 epochs"
    global_batch: Annotated[
        int, Field(ge=1, description="images in one update, over all devices")
    ] = 32
    replica_batch: Annotated[
        int | None,
        Field(
            ge=1,
            description="largest batch that one device takes at once; gradients are accumulated "
            "up to the global batch",
        ),
    ] = None
    ema_decay: Annotated[
        float | None,
        Field(gt=0, lt=1, description="decay of the running average of the generator's weights"),
    ] = None
    init_from: Annotated[
        str | None,
        Field(description="run or weights file to start from; what matched is reported"),
    ] = None
    share_generator_pass: Annotated[
        bool,
        Field(
            description="restore a batch once for all updates of a step, the critic's and the "
            "generator's own; off: restore it again for each, as the papers write it"
        ),
    ] = True
    fresh_critic_batches: Annotated[
        bool,
        Field(
            description="draw another batch for each update of the critic; all of them count as "
            "images seen"
        ),
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Devices and number formats."""

    strategy: Annotated[
        Literal["auto", "one", "mirrored", "multi_worker", "tpu"],
        Field(description="auto: TPU if asked for, TF_CONFIG's workers, all GPUs, else one device"),
    ] = "auto"
    tpu: Annotated[
        str | None, Field(description="TPU name or address; `--tpu` alone is the local one")
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="auto: bfloat16 on TPUs and GPUs that have it, else float32"),
    ] = "auto"
    xla: Annotated[
        Literal["auto", "on", "off"],
        Field(description="compile the step with XLA; auto: TPU only (it always does)"),
    ] = "auto"
    deterministic: Annotated[
        bool, Field(description="repeatable to the bit; slower, since operations run in turn")
    ] = False
    steps_per_loop: Annotated[
        int, Field(ge=1, description="updates between two looks at the results")
    ] = 50
    worker_minutes: Annotated[
        float,
        Field(gt=0, le=1e6, description="how long the workers of TF_CONFIG wait for each other"),
    ] = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """What is kept of a run."""

    log_every: Annotated[Period, Field(description="scalars")] = "200 steps"
    validate_every: Annotated[Period, Field(description="validation")] = "1 epochs"
    validation_split: Annotated[str, Field(description="split that is validated on")] = "val"
    validation_images: Annotated[
        int | None, Field(ge=1, description="validate on the first so many images only")
    ] = None
    best_metric: Annotated[
        Literal["psnr_db", "ssim", "mse", "mae", "log_cosh"],
        Field(description="metric of the validation that names the best checkpoint"),
    ] = "psnr_db"
    save_every: Annotated[Interval, Field(description="checkpoints; 'N minutes' as well")] = (
        "1 epochs"
    )
    keep: Annotated[Keep, Field(description="newest checkpoints that are kept: N or all")] = 2
    pictures: Annotated[
        int, Field(ge=0, description="images that are pictured, with each validation")
    ] = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run."""

    workdir: Annotated[
        str, Field(min_length=1, description="folder of the run; the same one resumes it")
    ]
    model: PlugIn
    objective: PlugIn
    critic: Annotated[
        PlugIn | None,
        Field(description="the network that judges, for objectives with an opponent"),
    ] = None
    recipe: Annotated[str | None, Field(description="published recipe to start from")] = None
    seed: Annotated[int, Field(ge=0, description="fixes weights, order and augmentation")] = 0
    data: DataConfig = DataConfig()
    synthesis: Annotated[
        Degradation,
        Field(description="blur made from the sharp halves while training, anew in each epoch"),
    ] = dataclasses.field(default_factory=Degradation)
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    players: Annotated[
        Mapping[str, PlayerConfig],
        Field(description="what of optimizer and schedule differs for single players, by name"),
    ] = dataclasses.field(default_factory=dict)
    training: TrainingConfig = TrainingConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    output: OutputConfig = OutputConfig()
    guards: Guards = dataclasses.field(default_factory=Guards)

    def player(self, name: str) -> tuple[OptimizerConfig, ScheduleConfig]:
        """Returns the optimizer and schedule of a player: its own, else the common ones."""
        own = self.players.get(name, PlayerConfig())
        return own.optimizer or self.optimizer, own.schedule or self.schedule


# ----------------------------------------------------------------------------------- the two stages


def resolve(*layers: Mapping[str, Any]) -> TrainConfig:
    """Merges layers of plain values, later ones winning, and validates the result.

    The recipe is looked up in the layers themselves, so a ``--config`` file may name it.

    Raises:
        ConfigError: Lists everything that is wrong, in the core and in the plug-ins' options.
    """
    given: dict[str, Any] = {}
    for layer in layers:
        given = settings.merge(given, _normalized(layer))
    name = given.get("recipe")
    tree = settings.merge(_normalized(recipes.load(name).config) if name else {}, given)
    problems: list[settings.Problem] = []
    for section in ("model", "objective"):
        tree[section], found = _resolve_plug_in(section, tree.get(section), PLUG_INS[section])
        problems += found
    tree["critic"], found = _resolve_critic(tree.get("critic"), tree["objective"]["name"])
    problems += found
    _complete_players(tree)
    problems += _unknown_players(tree)
    config, found = settings.check(TrainConfig, tree)
    # What is wrong with a plug-in is reported once, by its own stage.
    problems += [p for p in found if p.path.split(".")[0] not in PLUG_INS]
    settings.raise_problems(problems)
    if config is None:
        raise ConfigError("The configuration could not be built.")
    return config


def _normalized(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Writes ``model: unet16`` out as ``model: {name: unet16}``, so that layers merge."""
    return {
        key: {"name": value} if key in PLUG_INS and isinstance(value, str) else value
        for key, value in layer.items()
    }


def _unknown_players(tree: Mapping[str, Any]) -> list[settings.Problem]:
    """Finds settings of players that no run has: they would have no effect.

    The critic's may stand where there is none: the same file may serve another objective.
    """
    players = tree.get("players")
    if not isinstance(players, Mapping):
        return []
    known = ("generator", "critic")
    return [
        settings.Problem(f"players.{name}", f"there is no such player.{did_you_mean(name, known)}")
        for name in players
        if name not in known
    ]


def _complete_players(tree: dict[str, Any]) -> None:
    """Lets a player's settings change what they name and keep the rest of the common ones.

    A player with another optimizer or another kind of schedule begins with that one's defaults.
    """
    if not isinstance(tree.get("players"), Mapping):
        return
    tree["players"] = copy.deepcopy(tree["players"])
    for part, kind in (("optimizer", OptimizerConfig), ("schedule", ScheduleConfig)):
        given = tree.get(part)
        common = {"name": kind().name, **(given if isinstance(given, Mapping) else {})}
        for own in tree["players"].values():
            if isinstance(own, dict) and isinstance(own.get(part), Mapping):
                own[part] = settings.merge({part: common}, {part: own[part]})[part]


def _resolve_plug_in(
    section: str, value: Any, registry: Registry
) -> tuple[dict[str, Any], list[settings.Problem]]:
    """Validates one plug-in's name and options; returns them as `PlugIn` holds them."""
    known = registry.names()
    if not isinstance(value, Mapping) or "name" not in value:
        message = f"name one of: {', '.join(known)}, or give a --recipe"
        return {"name": ""}, [settings.Problem(section, message)]
    plug_in = PlugIn.of(value)
    if plug_in.name not in known:
        hint = did_you_mean(plug_in.name, known)
        return {"name": ""}, [
            settings.Problem(f"{section}.name", f"unknown {registry.kind} {plug_in.name!r}.{hint}")
        ]
    options_class = registry.options(plug_in.name)
    options, problems = settings.check(
        options_class, _lists(options_class, plug_in.options), f"{section}."
    )
    return {"name": plug_in.name, "options": settings.to_plain(options)}, problems


def _lists(options_class: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Makes one word of the command line a list where the option takes several."""
    several = {
        f.name for f in settings.fields_of(options_class) if settings.is_sequence(f.annotation)
    }
    return {
        key: [value] if key in several and isinstance(value, str) else value
        for key, value in options.items()
    }


def _resolve_critic(
    value: Any, objective: str
) -> tuple[dict[str, Any] | None, list[settings.Problem]]:
    """Validates the critic: there is one where the objective needs it, and nowhere else."""
    if not objective:  # unknown, which has been said already
        return None, []
    needed = getattr(OBJECTIVES.options(objective), "needs_critic", False)
    if needed:
        return _resolve_plug_in("critic", {"name": DEFAULT_CRITIC, **(value or {})}, CRITICS)
    if value:
        message = f"the objective {objective!r} has no critic; leave this section away"
        return None, [settings.Problem("critic", message)]
    return None, []


def to_yaml(config: TrainConfig) -> str:
    """Writes a configuration so that `resolve` reads the same one back."""
    tree = settings.to_plain(config)
    for section in PLUG_INS:
        plug_in = getattr(config, section)
        tree[section] = None if plug_in is None else plug_in.section()
    # Sizes are (height, width) inside and WIDTHxHEIGHT outside.
    crop = config.data.crop
    tree["data"]["crop"] = None if crop is None else f"{crop[1]}x{crop[0]}"
    return str(yaml.safe_dump(tree, sort_keys=False))
