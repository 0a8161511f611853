"""Names of a graph within those around it, and the attributes that its nodes have there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._order import subgraphs
from ._values import Value

if TYPE_CHECKING:
    from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, ValueInfoProto

_MOST_DEPTH = 16
"""Of graphs and functions in each other."""


@dataclass
class Scope:
    """Names of a graph or a function, within those around it."""

    values: dict[str, Value | None]
    around: Scope | None = None
    prefix: str = ""
    depth: int = 0
    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)
    infos: dict[str, ValueInfoProto] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.values or (self.around is not None and name in self.around)

    def find(self, name: str) -> Value | None:
        """A value; None for one that was left out."""
        if name in self.values or self.around is None:
            return self.values.get(name)
        return self.around.find(name)

    def inner(self, name: str, *, around: Scope | None) -> Scope:
        """A scope of a graph or a function that the node ``name`` of this one runs.

        Raises:
            ValueError: there are too many in each other.
        """
        if self.depth >= _MOST_DEPTH:
            raise ValueError(
                f"graphs and functions must be at most {_MOST_DEPTH} deep in each other; "
                f"at {name!r} there are more"
            )
        return Scope({}, around, f"{self.prefix}{name}/", self.depth + 1)


def attributes_of(node: NodeProto, scope: Scope) -> dict[str, AttributeProto]:
    """Attributes by name; those that refer to a function's are what its caller has given."""
    found = {}
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            found[attribute.name] = attribute
        elif attribute.ref_attr_name in scope.attributes:
            found[attribute.name] = scope.attributes[attribute.ref_attr_name]
    return found


def function_scope(
    node: NodeProto, function: FunctionProto, given: Mapping[str, AttributeProto], scope: Scope
) -> Scope:
    """The scope of a function's body; what is left out is None there."""
    inner = scope.inner(node.name or function.name, around=None)
    values = [scope.find(name) if name else None for name in node.input]
    if len(values) > len(function.input):
        raise ValueError(
            f"function {function.name!r} must have at most {len(function.input)} "
            f"inputs; got {len(values)}"
        )
    values += [None] * (len(function.input) - len(values))
    inner.values.update(zip(function.input, values, strict=True))
    inner.attributes = {a.name: a for a in function.attribute_proto} | dict(given)
    return inner


def branch_of(
    node: NodeProto, attributes: Mapping[str, AttributeProto], scope: Scope
) -> GraphProto | None:
    """The branch that an ``If`` takes; None where that is decided when it runs."""
    condition = scope.find(node.input[0]) if node.input else None
    data = condition.data() if condition is not None and condition.is_constant else None
    if data is None or data.size != 1:
        return None
    branch = attributes.get(_BRANCHES[bool(data.reshape(-1)[0])])
    return None if branch is None else next(subgraphs([branch]), None)


_BRANCHES = {True: "then_branch", False: "else_branch"}
