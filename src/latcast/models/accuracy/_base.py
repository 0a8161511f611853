"""The contract of an accuracy model, and what must hold of accuracies wherever they come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, final

import numpy as np
import numpy.typing as npt

from latcast._model_file import ModelFile
from latcast.data import ACCURACY, Dataset
from latcast.models._base import Predictor
from latcast.models._fitted import Fitted
from latcast.models._model import State
from latcast.spaces import Archs, SearchSpace

Floats = npt.NDArray[np.float64]


class AccuracyModel(Predictor):
    """A predictor of top-1 accuracies, from 0 to 1, of architectures.

    It keeps the contract of :class:`latcast.models.Predictor`; an accuracy belongs to no target,
    so that it is not adapted, and is not explained by blocks. A search asks once whether it
    :meth:`supports` the space and what is :meth:`known` of it, then calls :meth:`predict` with
    many batches, and :meth:`uncertainty` with what it has found.

    A kind writes :meth:`supports` and the hook ``_values``, and what else it can tell:
    :meth:`known`, ``_uncertainty``, ``_forecast`` with deviations. One that is not fitted but
    given, as a table or a function, states what it is for by :meth:`given` when it is made; one
    that is fitted writes ``_learn``, and for its file ``_state`` and ``_restore``.

    Args:
        name: for messages and reports.

    Attributes:
        noise: standard deviation of one network's accuracy around the expected one; None where it
            is not known. It is no part of :meth:`uncertainty`.
    """

    kind = "accuracy-model"
    description = "a model of accuracies"
    array_prefix = ""
    noise: float | None = None

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @abstractmethod
    def supports(self, space: SearchSpace) -> bool:
        """Whether architectures of ``space`` can be predicted."""

    @abstractmethod
    def _values(self, own: Archs) -> Floats:
        """Top-1 accuracies from 0 to 1, shape (n,), of architectures of a supported space.

        Raises:
            ValueError: only some architectures are known, and one of these is not among them.
        """

    def known(self, space: SearchSpace) -> Archs | None:
        """The only architectures of ``space`` that can be predicted; None: all of them."""
        return None

    def _uncertainty(self, own: Archs) -> Floats | None:
        """Standard deviation of the expected accuracy, shape (n,); None where it is not known."""
        return None

    @final
    def uncertainty(self, archs: Archs) -> Floats | None:
        """Standard deviation of the expected accuracy, shape (n,); None where it is not known.

        How far :meth:`predict` may be from what the same training would give on average. The
        noise of one training is not in it.

        Raises:
            ValueError: as :meth:`predict`.
        """
        return self._uncertainty(self._own(archs))

    @property
    def resolutions(self) -> tuple[int, ...] | None:
        """The input resolutions that it was made for, ascending; None: all of them.

        It answers for others that its space has, but a search must not trust it there.
        """
        resolutions = self.fitted.seen.get("r")
        return None if resolutions is None else tuple(resolutions)

    @final
    def given(
        self,
        space: SearchSpace | None = None,
        resolutions: Iterable[int] | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        """State what the model is for, where it is given and not fitted."""
        seen = {} if resolutions is None else {"r": sorted(set(resolutions))}
        self.become(Fitted(space, seen=seen, card=dict(card or {}), quantity=ACCURACY))

    # -- hooks of every predictor -------------------------------------------------------------

    def _learn(self, data: Sequence[Dataset], calibration: Dataset | None, seed: int) -> None:
        raise ValueError(
            f"the accuracy model {self.name!r} is given and cannot be fitted: "
            "latcast.models.accuracy.GaussianProcess can"
        )

    @final
    def _own(self, networks: Any) -> Archs:
        _ = self.fitted
        if not isinstance(networks, Archs):
            raise ValueError(
                f"the accuracy model {self.name!r} is for architectures of a search space; "
                f"got {type(networks).__name__}"
            )
        if not self.supports(networks.space):
            made_for = "another" if self.fitted.space is None else self.fitted.space.name
            raise ValueError(
                f"the accuracy model {self.name!r} is for {made_for}; "
                f"got architectures of {networks.space.name}"
            )
        return networks

    def _forecast(self, own: Archs) -> tuple[Floats, Floats | None]:
        return self._values(own), None

    @final
    def _explained(self, own: Archs, coverage: float) -> NoReturn:
        raise ValueError("accuracies are of whole networks: no part of one has a share in it")

    @final
    def _adapted(self, few: Dataset, method: str, seed: int) -> NoReturn:
        raise ValueError(
            "an accuracy belongs to no target that a model could adapt to: fit one to what your "
            "networks reached (latcast accuracy train)"
        )

    def _state(self) -> State:
        raise ValueError(f"{self.name!r} cannot be kept in a file: save a table of its accuracies")

    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        raise ValueError(f"models of the kind {self.kind!r} are not kept in files")


def checked_accuracies(values: npt.ArrayLike, n: int, whose: str) -> Floats:
    """Accuracies as float64, shape (n,).

    Args:
        values: what was given.
        n: how many there must be.
        whose: what they are, for the message.

    Raises:
        ValueError: they are no numbers, not n, not finite or not from 0 to 1.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{whose} must be numbers; got: {error}") from None
    if array.shape != (n,):
        raise ValueError(
            f"{whose} must be one number per architecture, shape ({n},); got shape {array.shape}"
        )
    possible = ACCURACY.is_possible(array)
    if not possible.all():
        row = int(possible.argmin())
        hint = " (divide percent by 100)" if 1.0 < array[row] <= 100.0 else ""
        raise ValueError(
            f"{whose} must be from 0 to 1{hint}; got {array[row]:g} for architecture {row}"
        )
    return array


def resolutions_of(archs: Archs) -> tuple[int, ...] | None:
    """The resolutions that occur, ascending; None in a space without."""
    names = [g.name for g in archs.space.genes]
    if "r" not in names:
        return None
    return tuple(np.unique(archs.genes[:, names.index("r")]).tolist())


def check_resolutions(model: AccuracyModel) -> None:
    """Make sure that the resolutions of a model from a file are those of its space.

    Raises:
        ValueError: they are not ascending, none, or not the space's.
    """
    choices = next((g.choices for g in model.space.genes if g.name == "r"), ())
    stated = model.fitted.seen.get("r")
    if not choices and stated is None:
        return
    if not stated or sorted(set(stated)) != stated or not set(stated) <= set(choices):
        raise ValueError(
            f"the resolutions must be ascending and of the space's, "
            f"{f'{choices[0]} to {choices[-1]}' if choices else 'none'}; got {stated!r}"
        )


def of_today(file: ModelFile) -> ModelFile:
    """A file of the time when all accuracy models were of one kind, as it would be written today.

    Raises:
        KeyError, TypeError, ValueError: an entry is missing or not as it was.
    """
    old = file.header
    model = old.get("model", "distilled")
    resolutions = old["resolutions"]
    if resolutions is not None and not (
        isinstance(resolutions, list) and all(type(r) is int for r in resolutions)
    ):
        raise ValueError(f"the resolutions must be ascending; got {resolutions!r}")
    card = old.get("card")
    if card is None:
        card = {name: old[name] for name in ("metrics", "source", "licence")}
    header = {
        "kind": f"accuracy-{model}",
        "quantity": ACCURACY.name,
        "seen": {} if resolutions is None else {"r": resolutions},
        "options": {"name": str(old["name"])} if "name" in old else {},
        "card": card,
    }
    return ModelFile(old | header, file.tensors)
