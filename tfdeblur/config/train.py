"""The configuration of a training run: one typed, frozen tree.

Precedence: defaults < recipe < ``--config`` file < command line. The tree is validated in two
stages, the options of the plug-ins and then the rest; the errors of both are reported together.
This module imports neither TensorFlow nor Keras, to keep ``--help`` fast.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from tfdeblur.config import plugins as plugin_modules
from tfdeblur.config import recipes, settings
from tfdeblur.config.backend import choose_backend
from tfdeblur.config.fields import Duration, Interval, Keep, Period, Size
from tfdeblur.config.guards import Guards
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import ConfigError
from tfdeblur.registry import METRIC_FAMILY, Registry, did_you_mean

CONFIG_FILE = "config.yaml"
"""Name of the resolved configuration in a work directory."""

MODELS = Registry(
    "tfdeblur.models",
    "model",
    (
        "blocks",
        "feature_pyramid",
        "generator",
        "keras_settings",
        "layers",
        "layers_tensorflow",
        "local_pooling",
    ),
)
CRITICS = Registry("tfdeblur.models.critics", "critic", ("critic",))
OBJECTIVES = Registry(
    "tfdeblur.objectives",
    "objective",
    ("adversarial", "content_losses", "objective", "wasserstein"),
)
METRIC_FAMILIES = Registry("tfdeblur.metrics", METRIC_FAMILY, ("metric",))

# Sections of the tree whose `name` chooses a plug-in, with the registry of its plug-ins.
PLUG_INS = {"model": MODELS, "critic": CRITICS, "objective": OBJECTIVES}

# The critic of adversarial objectives if none is set.
DEFAULT_CRITIC = "patch_gan"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlugIn:
    """A plug-in with its options.

    `options` is a validated instance of the plug-in's `Options`.
    """

    name: str
    """name in the registry"""
    options: Any = dataclasses.field(default_factory=dict)

    def section(self) -> dict[str, Any]:
        """Returns ``{name: unet16, width: 8}``, the section as YAML stores it."""
        return {"name": self.name, **settings.to_plain(self.options)}


# ----------------------------------------------------------------------------------------- sections


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The training data, and how samples are drawn from it."""

    paths: tuple[str, ...] = ()
    """data sets built by data_prep.build; several are mixed"""
    weights: tuple[float, ...] | None = None
    """sampling weight of each data set; its size if unset"""
    synthesize: tuple[bool, ...] | None = None
    """for each data set, whether its blur is synthesized; if unset, with a section synthesis: those
    built without blur, noise and JPEG if there are any, else all"""
    split: str = "train"
    """split to train on"""
    crop: Size | None = None
    """size of random crops, 256 or WIDTHxHEIGHT; the whole tile if unset"""
    horizontal_flips: bool = True
    """mirror half of the pairs left to right"""
    vertical_flips: bool = True
    """mirror half of the pairs top to bottom"""
    quarter_turns: bool = False
    """rotate by 0, 90, 180 or 270 degrees"""
    shuffle_block: Annotated[int | None, Field(ge=1)] = None
    """records that are shuffled with each other; chosen by their size if unset"""
    parts: Annotated[int, Field(ge=1)] = 1
    """divide each data set by file; hosts read only their own files if their number divides this
    one"""
    cache: Literal["auto", "on", "off"] = "auto"
    """keep the records in memory; auto: if they take at most a tenth of the host's memory"""
    train_on_test: bool = False
    """allow training on the test split, which evaluation uses"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The update rule of the weights."""

    name: Literal["adam", "adamw", "rmsprop"] = "adam"
    """update rule"""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """peak learning rate"""
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """decay of Adam's first moment"""
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """decay of Adam's second moment"""
    rho: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """decay of RMSprop's second moment"""
    epsilon: Annotated[float, Field(gt=0)] = 1e-7
    """added to the denominator of the update"""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """decoupled weight decay (adamw)"""
    clip_norm: Annotated[float | None, Field(gt=0)] = None
    """maximum global norm of the gradient; no clipping if unset"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate as a function of the images seen."""

    name: Literal["constant", "step", "exponential", "linear", "cosine"] = "constant"
    """constant; step: multiply by `factor` every `every`, or at each of `milestones`; exponential:
    the same smoothly, constant until `start`; linear: constant until `start`, then to `final` at
    the end; cosine: to `final` at the end, or in each `cycle`"""
    warmup: Duration = "0 images"
    """linear rise from 0 at the start of training"""
    start: Duration = "0 images"
    """start of the decay"""
    every: Period | None = None
    """interval of the decay (step, exponential); steps are those of the first stage"""
    milestones: tuple[Period, ...] = ()
    """times of the decay (step), which replace `start`, `every` and `drop`"""
    cycle: Period | None = None
    """time from one warm restart to the next (cosine)"""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """factor of the rate per interval"""
    drop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """factor of the rate applied once, at `start`"""
    final: Annotated[float, Field(ge=0)] = 0.0
    """rate at the end of training (linear, cosine)"""

    def __post_init__(self) -> None:
        if self.name == "step" and self.every is None and not self.milestones:
            raise ValueError("'step' needs `every`, such as '5 epochs', or `milestones`")
        if self.name == "exponential" and self.every is None:
            raise ValueError("'exponential' needs `every`, such as '5 epochs'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Settings of a single network, if they differ from the common ones."""

    optimizer: OptimizerConfig | None = None
    schedule: ScheduleConfig | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworksConfig:
    """Settings of single networks. Those of the critic have no effect if there is none."""

    generator: NetworkConfig | None = None
    critic: NetworkConfig | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A later stage of progressive training: what changes from its start on."""

    start: Period
    """start of the stage, since the start of the run"""
    crop: Size | None = None
    """size of random crops; that of the stage before if unset"""
    global_batch: Annotated[int | None, Field(ge=1)] = None
    """images per update; those of the stage before if unset"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Length, batches and initial weights."""

    duration: Period = "100 epochs"
    """length of the run: 'N epochs', 'N steps' or 'N images'"""
    global_batch: Annotated[int, Field(ge=1)] = 32
    """images per update, over all devices"""
    scale_batch: bool = False
    """raise the global batch to the next multiple of the number of devices, and the learning rates
    by the square root of that factor; otherwise devices that cannot share it stay idle"""
    replica_batch: Annotated[int | None, Field(ge=1)] = None
    """maximum batch of one device at a time; gradients are accumulated up to the global batch"""
    stages: tuple[StageConfig, ...] = ()
    """later stages with other crops or batches, such as {start: 92000 steps, crop: 160,
    global_batch: 40}; data.crop and training.global_batch are those of the first"""
    ema_decay: Annotated[float | None, Field(gt=0, lt=1)] = None
    """decay of the running average of the generator's weights"""
    remat: bool = False
    """recompute the generator's activations in the backward pass, which takes less memory and more
    time; under JAX"""
    init_from: str | None = None
    """run, checkpoint, preset or weights file to start from; prints what matched"""
    init_partial: bool = False
    """accept initial weights that fit fewer than half of the network's arrays"""
    init_continue: bool = False
    """begin at the number of images that the initial weights have seen, so that learning rate and
    duration continue where their training ended"""
    share_generator_pass: bool = True
    """run the generator once per step, for the updates of both the critic and the generator; off:
    once per update, as in the papers"""
    fresh_critic_batches: bool = False
    """draw another batch for each critic update; all of them count as images seen"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Devices and numerical precision."""

    engine: Literal["auto", "tensorflow", "jax"] = "auto"
    """framework that runs the steps; auto: KERAS_BACKEND if set, else TensorFlow, or JAX if only
    JAX can use the TPU"""
    strategy: Literal["auto", "one", "mirrored", "multi_worker", "tpu"] = "auto"
    """auto: a TPU if one is attached or named, else the workers of TF_CONFIG, all GPUs, or one
    device; multi_worker: the workers of TF_CONFIG, or under JAX those that it finds itself"""
    tpu: str | None = None
    """TPU name or address; `--tpu` without a value is the local one"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on TPUs and GPUs that support it, else float32"""
    xla: Literal["auto", "on", "off"] = "auto"
    """compile the step with XLA; auto: on TPUs, where it is always on, and always under JAX"""
    deterministic: bool = False
    """bit-exact; slower, because ops run serially"""
    steps_per_loop: Annotated[int, Field(ge=1)] = 50
    """training steps per host loop"""
    worker_minutes: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    """minutes that the workers of TF_CONFIG wait for each other"""
    max_minutes: Annotated[float | None, Field(gt=0)] = None
    """save and stop after this many minutes of training, for sessions that end; the same command
    resumes; no limit if unset"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Logs, validation and checkpoints of a run."""

    log_every: Period = "200 steps"
    """interval of logged scalars"""
    validate_every: Period = "1 epochs"
    """interval of validation"""
    validation_split: str = "val"
    """split to validate on"""
    validation_images: Annotated[int | None, Field(ge=1)] = None
    """validate on only the first N images"""
    best_metric: str = "psnr_db"
    """validation metric that selects the best checkpoint, such as psnr_db or ssim"""
    save_every: Interval = "1 epochs"
    """interval of checkpoints; also 'N minutes'"""
    keep: Keep = 2
    """number of newest checkpoints to keep, or all"""
    pictures: Annotated[int, Field(ge=0)] = 6
    """images written as pictures at each validation"""
    profile: bool = False
    """write a trace of the second call of steps, for the profiler of TensorBoard"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run."""

    workdir: Annotated[str, Field(min_length=1)]
    """work directory; an existing one is resumed"""
    model: PlugIn
    objective: PlugIn
    critic: PlugIn | None = None
    """network that scores images, for adversarial objectives"""
    recipe: str | None = None
    """published recipe to start from"""
    plugins: tuple[str, ...] = ()
    """modules whose plug-ins the run uses; they are imported by `--plugins MODULE` only"""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """seed of initial weights, data order and augmentation"""
    data: DataConfig = DataConfig()
    synthesis: Degradation = dataclasses.field(default_factory=Degradation)
    """blur synthesized from sharp images on the fly, different in each epoch"""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    networks: NetworksConfig = NetworksConfig()
    """optimizer and schedule of a single network, if they differ"""
    training: TrainingConfig = TrainingConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    output: OutputConfig = OutputConfig()
    guards: Guards = dataclasses.field(default_factory=Guards)

    def for_network(self, name: str) -> tuple[OptimizerConfig, ScheduleConfig]:
        """Returns the optimizer and schedule of a network: its own, else the common ones."""
        own = getattr(self.networks, name) or NetworkConfig()
        return own.optimizer or self.optimizer, own.schedule or self.schedule


# --------------------------------------------------------------------------------------- resolution


def resolve(
    *layers: Mapping[str, Any],
    problems: Sequence[settings.Problem] = (),
    plugins: Sequence[str] = (),
) -> TrainConfig:
    """Merges layers of plain values, later ones taking precedence, and validates the result.

    Args:
        *layers: Sections by name. Any layer may name the recipe.
        problems: Errors found earlier, such as unknown flags, which are reported with the others.
        plugins: Modules or ``.py`` files to import, whose plug-ins the layers may name. Layers
            that name modules themselves do not import them.

    Raises:
        ConfigError: Lists all errors, those in the options of plug-ins included.

    Example:
        >>> run_config = resolve({"recipe": "unet16_cifar10", "workdir": "runs/unet16"},
        ...                      {"training": {"global_batch": 64}})
        >>> run_config.model.name, run_config.training.global_batch
        ('unet16', 64)
    """
    given: dict[str, Any] = {}
    for layer in layers:
        given = settings.merge(given, _normalized(layer))
    name = given.get("recipe")
    tree = settings.merge(_normalized(recipes.load(name).config) if name else {}, given)
    # Plug-ins import Keras.
    choose_backend(tree.get("runtime"))
    plugin_modules.load(plugins)
    if absent := plugin_modules.missing(tree.get("plugins")):
        raise ConfigError(f"plugins: {plugin_modules.advice(absent)}")
    tree["model"], of_model = resolve_plug_in("model", tree.get("model"))
    tree["objective"], of_objective = resolve_plug_in("objective", tree.get("objective"))
    tree["critic"], of_critic = _resolve_critic(tree.get("critic"), tree["objective"])
    tree["plugins"] = _used_plugins(tree, plugins)
    _complete_networks(tree)
    config, of_core = settings.check(TrainConfig, tree)
    of_core = [*_unknown_metric(tree), *of_core]
    settings.raise_problems([*problems, *of_model, *of_objective, *of_critic, *of_core])
    if config is None:
        raise ConfigError("The configuration could not be built.")
    return config


def _normalized(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Expands ``model: unet16`` to ``model: {name: unet16}``, so that layers can be merged."""
    return {
        key: {"name": value} if key in PLUG_INS and isinstance(value, str) else value
        for key, value in layer.items()
    }


def _used_plugins(tree: Mapping[str, Any], given: Sequence[str]) -> Any:
    """Returns the modules to record: those given, and those whose plug-ins are chosen."""
    named = tree.get("plugins") or ()
    if not isinstance(named, list | tuple):
        return named  # reported with the errors of the core tree
    chosen = [(PLUG_INS[section], tree[section]) for section in PLUG_INS if tree[section]]
    origins = [registry.origin(plug_in.name) for registry, plug_in in chosen]
    used = [origin for origin in origins if origin not in (None, "__main__")]
    # One that was named by its path stays so.
    return list({plugin_modules.module_name(str(m)): m for m in (*used, *named, *given)}.values())


def _unknown_metric(tree: Mapping[str, Any]) -> list[settings.Problem]:
    """Finds a `best_metric` that validation does not measure."""
    output = tree.get("output")
    metric = output.get("best_metric") if isinstance(output, Mapping) else None
    if not isinstance(metric, str):
        return []
    families = [METRIC_FAMILIES.load(name).METRICS for name in METRIC_FAMILIES.names()]
    known = [found.key for family in families for found in family if found.quick]
    if metric in known:
        return []
    message = f"unknown metric {metric!r}.{did_you_mean(metric, known)}"
    return [settings.Problem("output.best_metric", message)]


def _complete_networks(tree: dict[str, Any]) -> None:
    """Fills the settings of single networks with the common ones.

    If a network has another optimizer or another kind of schedule, the defaults of that kind apply
    instead.
    """
    if not isinstance(tree.get("networks"), Mapping):
        return
    tree["networks"] = copy.deepcopy(tree["networks"])
    for part, kind in (("optimizer", OptimizerConfig), ("schedule", ScheduleConfig)):
        given = tree.get(part)
        common = {"name": kind().name, **(given if isinstance(given, Mapping) else {})}
        for own in tree["networks"].values():
            if isinstance(own, dict) and isinstance(own.get(part), Mapping):
                own[part] = settings.merge({part: common}, {part: own[part]})[part]


def resolve_plug_in(section: str, value: Any) -> tuple[PlugIn, list[settings.Problem]]:
    """Validates the name and the options of a plug-in.

    Args:
        section: A key of `PLUG_INS`.
        value: The section as YAML stores it, such as ``{name: unet16, width: 8}``.

    Returns:
        The plug-in, whose name is empty if it is unknown, and all problems.
    """
    registry, unresolved = PLUG_INS[section], PlugIn(name="")
    known = registry.names()
    if not isinstance(value, Mapping) or "name" not in value:
        message = f"is required: one of {', '.join(known)}; or choose a --recipe"
        return unresolved, [settings.Problem(section, message)]
    name = str(value["name"])
    if name not in known:
        message = f"unknown {registry.kind} {name!r}.{did_you_mean(name, known)}"
        return unresolved, [settings.Problem(f"{section}.name", message)]
    options_class = registry.options(name)
    options = {key: option for key, option in value.items() if key != "name"}
    options = _with_lists(options_class, options)
    resolved, problems = settings.check(options_class, options, f"{section}.")
    return PlugIn(name=name, options=resolved), problems


def _with_lists(options_class: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a single word of the command line to a list if the option takes several."""
    lists = {
        f.name for f in settings.fields_of(options_class) if settings.is_sequence(f.annotation)
    }
    return {
        key: [value] if key in lists and isinstance(value, str) else value
        for key, value in options.items()
    }


def _resolve_critic(value: Any, objective: PlugIn) -> tuple[PlugIn | None, list[settings.Problem]]:
    """Validates the critic, which only some objectives have."""
    if not objective.name:  # unknown, which is reported already
        return None, []
    if getattr(OBJECTIVES.options(objective.name), "needs_critic", False):
        if value is None or isinstance(value, Mapping):
            value = {"name": DEFAULT_CRITIC, **(value or {})}
        return resolve_plug_in("critic", value)
    if value:
        message = f"objective {objective.name!r} has no critic; remove this section"
        return None, [settings.Problem("critic", message)]
    return None, []


def to_yaml(config: TrainConfig) -> str:
    """Writes a configuration as YAML, from which `resolve` returns an equal one."""
    tree = settings.to_plain(config)
    for section in PLUG_INS:
        plug_in = getattr(config, section)
        tree[section] = None if plug_in is None else plug_in.section()
    return str(yaml.safe_dump(tree, sort_keys=False))
