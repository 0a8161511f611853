"""The bodies of the service's requests, and of those answers that are no records, for OpenAPI.

Names of devices, models and spaces are checked here, for every endpoint: a request may name what
was sent and what ships with latcast, never a file or an address.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .calls import check_names


def _shipped(name: str, what: str) -> str:
    """A name as it is, if it can be one of the catalogue.

    Raises:
        ValueError: it cannot; pydantic makes an error of the field of it.
    """
    check_names([name], what)
    return name


Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(min_length=1, max_length=512)]
DeviceName = Annotated[Name, AfterValidator(partial(_shipped, what="device"))]
DeviceNames = Annotated[list[DeviceName], Field(min_length=1, max_length=512)]
ModelName = Annotated[Name, AfterValidator(partial(_shipped, what="model"))]
SpaceName = Annotated[Name, AfterValidator(partial(_shipped, what="space"))]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(gt=0, lt=1)]
Ms = Annotated[float, Field(gt=0, lt=1e12)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sides = Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=64)]


class Asked(BaseModel):
    """A request; fields that it leaves out are as the command has them by default."""

    model_config = ConfigDict(extra="forbid", strict=False)

    def given(self) -> dict[str, Any]:
        """The fields that were given and are not null, by their names."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


class Target(Asked):
    """Which target of a device is meant; every field that is given holds exactly."""

    runtime: Name | None = None
    precision: Name | None = None
    batch: Count | None = Field(None, description="Samples a forward pass.")
    threads: Count | None = Field(None, description="Of the CPU.")


class FileInputs(Asked):
    """How the inputs of a network's file are to be taken."""

    shapes: dict[Name, Sides] | None = Field(
        None, description="Of inputs that the file leaves open, by their names, or of symbols."
    )
    batch_axis: int | dict[Name, int] | None = Field(
        None, description="Which side of the inputs is the batch."
    )
    trip_count: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Trips of loops whose count is no constant in the file."
    )


class InspectRequest(FileInputs):
    """How a network that is sent is to be read for its inspection."""

    batch: Count | None = None
    in_place: bool = Field(False, description="Layers hold memory as if activations ran in place.")


class OfNetwork(FileInputs):
    """A network that was sent."""

    network: Name = Field(description="Id of a network that was sent.")
    name: Annotated[str, Field(max_length=1_000)] | None = Field(
        None, description="What the record calls it; by default as when it was sent."
    )


class Curve(Asked):
    """Values of a side of the network's inputs, or of a figure of the device."""

    of: Name = Field(description="batch, sequence, bandwidth_gb_s, …")
    values: Annotated[list[Finite], Field(min_length=1, max_length=256)]


class ForecastRequest(FileInputs):
    """Latency of a network, or of architectures of a search space, on devices."""

    network: Name | None = Field(None, description="Id of a network that was sent.")
    name: Annotated[str, Field(max_length=1_000)] | None = None
    archs: list[Any] | None = Field(None, description="In the field's own form, one or more.")
    space: SpaceName | None = Field(None, description="Of the architectures.")
    devices: DeviceNames = Field(
        default_factory=list, description="Devices, shipped models or targets.",
    )  # fmt: skip
    model: Name | None = Field(None, description="Id of an adapted model, beside the devices.")
    runtime: Name | None = None
    precision: Name | Names | None = Field(None, description="Of several, a row each.")
    batch: Count | Annotated[list[Count], Field(min_length=1, max_length=64)] | None = Field(
        None, description="Of several, the curve over the batch."
    )
    threads: Count | None = None
    sequence: Count | None = Field(None, description="Of all open sides that are lengths.")
    sweep: Curve | None = Field(None, description="The curve over a side of the inputs.")
    vary: Curve | None = Field(None, description="The curve over a figure of the device.")
    base: ModelName | None = Field(None, description="Base model of a space, by name.")
    similar_to: DeviceName | None = None
    coverage: Share = 0.9
    strict: bool = False


class WhichRequest(OfNetwork):
    """Devices by their chance to run a network within a budget."""

    max_latency_ms: Ms
    devices: DeviceNames | None = None
    runtimes: Names | None = None
    precisions: Names | None = None
    batch: Count | None = None
    threads: Count | None = None
    at_least: Name = Field("likely", description="certain, likely or unlikely.")
    coverage: Share = 0.9


class ChooseRequest(Target):
    """The most accurate pretrained models within a budget."""

    device: DeviceName
    max_latency_ms: Ms
    model: Name | None = Field(None, description="Id of an adapted model, in the device's place.")
    task: Name = "imagenet"
    max_memory_bytes: Annotated[float, Field(gt=0)] | None = None
    confidence: Share | None = None
    coverage: Share = 0.9


class SuggestRequest(Target, FileInputs):
    """Networks to measure on a device, for the forecast of one network or of all."""

    device: DeviceName
    model: Name | None = Field(
        None, description="Id of an adapted model, in the device's place: what it was adapted to "
        "is known, and not suggested again.",
    )  # fmt: skip
    network: Name | None = None
    name: Annotated[str, Field(max_length=1_000)] | None = None
    samples: Annotated[int, Field(ge=1, le=1_000)] = 5
    among: Names | None = Field(None, description="Ids of networks that were sent.")
    similar_to: DeviceName | None = None
    coverage: Share = 0.9


class CompareRequest(Asked):
    """Two datasets, or a forecast and a dataset."""

    a: DeviceName = Field(description="Id of a dataset, or a device, shipped model or target.")
    b: DeviceName
    false_share: Share = 0.05
    names: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None


class Measured(FileInputs):
    """A network and the latency that was measured of it."""

    network: Name
    name: Annotated[str, Field(max_length=1_000)] | None = None
    latency_ms: Ms


class AdaptRequest(Target):
    """A model of a target from measurements of networks there."""

    device: DeviceName
    measurements: Annotated[list[Measured], Field(min_length=1, max_length=1_000)]
    model: ModelName | None = Field(
        None, description="Model that is adapted: a shipped one or an id; by default the device's."
    )
    similar_to: DeviceName | None = None


class SearchRequest(Asked):
    """``latcast search``: the most accurate networks within latency budgets."""

    device: DeviceNames
    space: SpaceName | None = None
    max_latency_ms: list[Ms | list[Ms]] | None = None
    confidence: Share | None = None
    max_macs: Annotated[float, Field(gt=0)] | None = None
    max_params: Annotated[float, Field(gt=0)] | None = None
    max_activation_bytes: Annotated[float, Field(gt=0)] | None = None
    accuracy: ModelName | None = Field(None, description="A shipped accuracy model, by name.")
    resolution: list[Count] | None = None
    method: Name = "auto"
    evaluations: Count | None = None
    population_size: Annotated[int, Field(ge=2, le=100_000)] | None = None
    time_limit_s: Annotated[float, Field(gt=0)] | None = None
    model: ModelName | None = Field(None, description="Base model, by name.")
    runtime: Name | None = None
    precision: Name | None = None
    batch: Count | None = None
    similar_to: DeviceName | None = None
    seed: Annotated[int, Field(ge=0)] = 0


class TuneRequest(Asked):
    """``latcast tune``: the options of a predictor that fit a dataset best."""

    data: Name = Field(description="Id of a dataset that was sent.")
    space: SpaceName | None = None
    target: Name | None = None
    input_format: Name | None = None
    predictor: Name | None = None
    preset: Name | None = None
    epochs: Count | None = None
    trials: Count | None = None
    prune: bool = True
    time_limit_s: Annotated[float, Field(gt=0)] | None = None
    study: Name | None = None
    test: Share = 0.15
    seed: Annotated[int, Field(ge=0)] = 0


class SearchJob(SearchRequest):
    """A job of ``latcast search``."""

    command: Literal["search"]


class TuneJob(TuneRequest):
    """A job of ``latcast tune``."""

    command: Literal["tune"]


JobRequest = Annotated[SearchJob | TuneJob, Field(discriminator="command")]


class JobState(BaseModel):
    """A job: its state, how far it is, and its result."""

    id: str
    command: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int = Field(description="Evaluations or trials.")
    total: int | None
    text: str = Field(description="What is being done.")
    created: str
    changed: str
    seconds: float = Field(description="Seconds that it has run, those before a restart included.")
    result: dict[str, Any] | None = Field(
        None, description="The record, or the error of a job that failed; of one job alone."
    )


class NetworkInfo(BaseModel):
    """A network that is kept."""

    id: str
    name: str
    size_bytes: int


class SentNetwork(BaseModel):
    """A network that was sent."""

    id: str
    inspection: dict[str, Any] = Field(description="The record of latcast inspect.")


class SentDataset(BaseModel):
    """A dataset that was sent."""

    id: str
    rows: int
    target: str


class AdaptedModel(BaseModel):
    """A model that was adapted."""

    model: str = Field(description="Its id, which a forecast takes.")
    adaptation: dict[str, Any] = Field(description="The record of latcast adapt.")
