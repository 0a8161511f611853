"""Expected latency as a PyTorch module, for gradient-based architecture search.

Gradient NAS relaxes every choice to probabilities and descends their expected latency, which
ProxylessNAS (arXiv:1812.00332, section 3.3) sums over the blocks of a lookup table,
``E[latency] = sum_i sum_j p_ij * F(o_ij)``. Here as well the genes are independent, but a block may
depend on several of them (depth, kernel size, expand ratio, resolution), and the predictor may hold
more than a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from latcast.models import Form, Predictor
from latcast.search.request import find_predictors, restriction
from latcast.spaces import SearchSpace

from ._terms import Term, Variables, terms_of

# By which probabilities may miss 1, or 0 from below: half precision rounds that much, and finite
# differences of a check of gradients step over the edge.
SUM_TOLERANCE = 0.02


class ExpectedLatency(nn.Module):
    """Milliseconds that networks with random genes are expected to take.

    Genes are independent. The sums over blocks on which a prediction rests are replaced by their
    expectations, which are exact; what the predictor makes of them is then

    - exact for what adds up over blocks (lookup tables, MACs, the larger part of all others),
    - an approximation for the rest, f(E[x]) in place of E[f(x)], where f is the correction for what
      does not add up (``roofline``, ``bayes``) or the network (``mlp``).

    Where every gene is decided (all probabilities 0 or 1), the result is the prediction for that
    network. Genes of blocks that the depth leaves out for certain have a gradient of 0.

    Parameters are none; buffers are float64 and follow ``.to(...)``.

    Args:
        predictor: fitted, of a kind that has a :meth:`latcast.models.Predictor.form`.
        space: whose genes the probabilities are of: that of the predictor, or a subspace.
        restrict: gene -> values it may take; by default all that the predictor was trained on.

    Attributes:
        choices: gene -> the values that its probabilities are of, in order.

    Raises:
        TypeError: the predictor has no form.
        ValueError: another space, an unknown gene or value, or a block that the predictor does
            not know.
    """

    def __init__(
        self,
        predictor: Predictor,
        space: SearchSpace | None = None,
        *,
        restrict: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        the_space = space or predictor.space
        predictors = find_predictors(the_space, predictor)
        known = restriction(the_space, predictors, restrict or {})
        variables = Variables(the_space, tuple(the_space.choices(known)))
        self.choices = {
            gene.name: tuple(values.tolist())
            for gene, values in zip(variables.space.genes, variables.choices, strict=True)
        }
        self.form = _FormModule(predictor.form(), variables)

    def forward(self, probabilities: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Expected latency in ms, shape (…,), of the widest dtype of the probabilities.

        Args:
            probabilities: of every gene's choices (:attr:`choices`), each of shape (…, choices):
                by the genes' names, or in their order. Leading dimensions broadcast.

        Raises:
            ValueError: a gene is missing or unknown, a shape is wrong, or what was given are no
                probabilities, or no floating-point ones.
        """
        given = self._in_order(probabilities)
        batch = np.broadcast_shapes(*(p.shape[:-1] for p in given))
        self._check(given)
        dtype = self.form.lowest_ms.dtype
        flat = [p.expand(*batch, -1).reshape(-1, p.shape[-1]).to(dtype) for p in given]
        expected: Tensor = self.form(flat)
        return expected.reshape(batch).to(reduce(torch.promote_types, (p.dtype for p in given)))

    def _in_order(self, probabilities: Mapping[str, Tensor] | Sequence[Tensor]) -> list[Tensor]:
        if isinstance(probabilities, Mapping):
            wrong = sorted(self.choices.keys() ^ probabilities.keys())
            if wrong:
                what = "missing" if wrong[0] in self.choices else "unknown"
                raise ValueError(
                    f"probabilities must be given for {', '.join(self.choices)}; "
                    f"{wrong[0]!r} is {what}"
                )
            given = [probabilities[name] for name in self.choices]
        else:
            given = list(probabilities)
        if len(given) != len(self.choices):
            raise ValueError(
                f"probabilities must be given for {len(self.choices)} genes; got {len(given)}"
            )
        for (name, choices), p in zip(self.choices.items(), given, strict=True):
            if not isinstance(p, Tensor) or not p.is_floating_point():
                raise ValueError(
                    f"the probabilities of {name} must be a floating-point tensor; got "
                    f"{p.dtype if isinstance(p, Tensor) else type(p).__name__}: convert it"
                )
            if not p.ndim or p.shape[-1] != len(choices):
                raise ValueError(
                    f"the probabilities of {name} must have the shape (…, {len(choices)}), for "
                    f"{', '.join(map(str, choices))}; got {tuple(p.shape)}"
                )
        return given

    def _check(self, given: list[Tensor]) -> None:
        if not all(p.numel() for p in given):
            return  # an empty batch
        with torch.no_grad():
            off = torch.stack(
                [torch.maximum((p.sum(-1) - 1).abs().amax(), -p.amin()) for p in given]
            ).float()
        worst = int(off.argmax())
        if not off[worst] <= SUM_TOLERANCE:
            raise ValueError(
                f"the probabilities of {list(self.choices)[worst]} must be from 0 to 1 and add up "
                f"to 1; they are off by {float(off[worst]):.3g}: take the softmax of what is "
                "optimized"
            )


class _FormModule(nn.Module):
    """A form on expected inputs, and what it builds on."""

    constant: Tensor
    linear: Tensor
    lowest_ms: Tensor
    base_weight: Tensor

    def __init__(self, form: Form, variables: Variables) -> None:
        super().__init__()
        terms = terms_of(form, variables)
        # Inputs as different as MACs and ms would not fit single precision.
        scale = _scale(terms, len(form.linear))
        alike: dict[tuple[int, ...], list[Term]] = {}
        constant = np.zeros(len(scale))
        for term in terms:
            if term.genes:
                alike.setdefault(term.table.shape, []).append(term)
            else:
                constant += term.table
        self.terms = nn.ModuleList(_TermsModule(some, scale) for some in alike.values())
        self.layers = nn.ModuleList()
        for n, (weights, biases) in enumerate(form.layers):
            scaled = weights if n else weights * scale[:, None]
            self.layers.append(_LayerModule(scaled, biases))
        _keep(self, "constant", constant / scale)
        _keep(self, "linear", form.linear * scale)
        _keep(self, "lowest_ms", np.array(form.lowest_ms))
        _keep(self, "base_weight", np.array(form.base_weight))
        self.base = None if form.base is None else _FormModule(form.base, variables)

    def forward(self, probabilities: list[Tensor]) -> Tensor:
        inputs = self.constant.expand(len(probabilities[0]), -1)
        for terms in self.terms:
            inputs = inputs + terms(probabilities)
        hidden = self.layers[0](inputs)
        for layer in self.layers[1:]:
            hidden = layer(hidden.relu())
        expected: Tensor = inputs @ self.linear + hidden[:, 0]
        if self.base is not None:
            expected = expected + self.base_weight * self.base(probabilities)
        return expected.clamp(min=self.lowest_ms)


class _TermsModule(nn.Module):
    """The expectation of the sum of terms with as many choices each, shape (batch, inputs)."""

    tables: Tensor

    def __init__(self, terms: list[Term], scale: npt.NDArray[np.float64]) -> None:
        super().__init__()
        self.genes = [term.genes for term in terms]
        _keep(self, "tables", np.stack([term.table for term in terms]) / scale)

    def forward(self, probabilities: list[Tensor]) -> Tensor:
        batch, sizes = len(probabilities[0]), self.tables.shape
        # Gene by gene of every term: (terms, batch, choices).
        columns = zip(*self.genes, strict=True)
        first, *others = (torch.stack([probabilities[g] for g in genes]) for genes in columns)
        value = first @ self.tables.flatten(2)
        for n, p in enumerate(others, start=2):
            value = value.reshape(len(p), batch, sizes[n], prod(sizes[n + 1 :]))
            value = (p[:, :, None] @ value)[:, :, 0]
        return value.sum(0)


class _LayerModule(nn.Module):
    """inputs @ weights + biases."""

    weights: Tensor
    biases: Tensor

    def __init__(self, weights: npt.NDArray[np.floating], biases: npt.NDArray[np.floating]) -> None:
        super().__init__()
        _keep(self, "weights", weights)
        _keep(self, "biases", biases)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weights + self.biases


def _scale(terms: list[Term], inputs: int) -> npt.NDArray[np.float64]:
    """The largest value of every input that a term has, shape (inputs,)."""
    largest = np.zeros(inputs)
    for term in terms:
        largest = np.maximum(largest, np.abs(term.table).reshape(-1, inputs).max(axis=0))
    return np.where(largest > 0, largest, 1.0)


def _keep(module: nn.Module, name: str, values: npt.NDArray[np.floating]) -> None:
    """Make an array a buffer that is not saved: the predictor's file has it."""
    buffer = torch.from_numpy(np.array(values, dtype=np.float64))
    module.register_buffer(name, buffer, persistent=False)
