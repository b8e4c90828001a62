"""How a graph ends at each of its outputs: what is read off the operators before it, for `comparators` to choose by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from workunits.domain.calibration import FULL, HALF

_SAME_VALUES = frozenset({"Identity", "Cast", "Dropout"})
_TRANSPARENT = frozenset({*_SAME_VALUES, "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_NORM_GUARDS = frozenset({"Clip", "Max", "Expand", "Add", *_TRANSPARENT})
_NORM_DEPTH_MAX = 6
# They keep the order of scores, so a choice from one is a choice from the other.
_MONOTONE = frozenset(
    {"Softmax", "LogSoftmax", "Sigmoid", "Log", "Exp", "Normalizer", "QuantizeLinear", "DequantizeLinear"}
)
# They look a name up for an index: input 1, or 0 where there is only one.
_NAMING = frozenset({"Gather", "ArrayFeatureExtractor", "LabelEncoder"})
# ai.onnx.ml's classifiers: output 0 is the label, output 1 the scores.
_CLASSIFIERS = frozenset({"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})
_QUANTISING = frozenset({"QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How the graph ends at one output.

    Attributes:
        kind: `softmax` (a distribution), `normalised` (divided by a norm), `choice` (the best of scores) or `other`.
        axis: the axis of a softmax, or of what was chosen from, in a row's shape; None where a reshape has hidden it.
        is_softmax: the shares come from a softmax proper, not from a sum that they were divided by.
        is_quantised: 8-bit arithmetic lies on the way.
        is_suppressed: a suppression of overlapping boxes lies on the way.
        is_computed: arithmetic with float weights lies on the way.
        scores: tensors that hold the scores a choice was made from, or these scores themselves.
        detection: options that the graph gives away about detections.
    """

    kind: str = "other"
    axis: int | None = None
    is_softmax: bool = False
    is_quantised: bool = False
    is_suppressed: bool = False
    is_computed: bool = False
    scores: frozenset[str] = frozenset()
    detection: Mapping[str, Any] = field(default_factory=dict)


OTHER: Final = Ending()


def find_precision(graph: GraphProto) -> str:
    """Return the precision that the graph computes with: `F16` where weights or rows are half floats, else `F32`."""
    kinds = {tensor.data_type for tensor in graph.initializer}
    kinds |= {value.type.tensor_type.elem_type for value in graph.input}
    for node in graph.node:  # exporters put weights into Constant too
        kinds |= {attribute.t.data_type for attribute in node.attribute if attribute.HasField("t")}
        if node.op_type == "Cast":
            kinds.add(int(_attribute(node, "to", TensorProto.UNDEFINED)))
    return HALF if TensorProto.FLOAT16 in kinds else FULL


def endings(graph: GraphProto) -> dict[str, Ending]:
    """Return for each output how the graph ends there."""
    makers = {name: node for node in graph.node for name in node.output if name}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    quantised = _reached_from(graph, _is_quantising)
    floats = {name for name, tensor in constants.items() if tensor.data_type in _FLOATS}
    computed = _reached_from(graph, lambda node: not floats.isdisjoint(node.input))
    suppressed = _reached_from(graph, lambda node: node.op_type == "NonMaxSuppression")
    return {
        value.name: replace(
            _ending(value.name, makers),
            is_quantised=value.name in quantised,
            is_suppressed=value.name in suppressed,
            is_computed=value.name in computed,
            detection=_detection_options(value.name, makers, constants) if value.name in suppressed else {},
        )
        for value in graph.output
    }


def _ending(name: str, makers: Mapping[str, NodeProto]) -> Ending:
    """Return how the graph ends at `name`, as far as the operators right before it say."""
    node, names, is_same = _walk_back(name, makers)
    if node is None:
        return Ending(scores=frozenset(names))
    if _is_choice(node, names):
        source = node.output[1] if node.op_type in _CLASSIFIERS else node.input[0]
        axis = int(_attribute(node, "axis", 0 if node.op_type == "ArgMax" else -1))
        return Ending(kind="choice", axis=axis - 1 if axis > 0 else axis or None, scores=_score_names(source, makers))
    kind = _kind(node, makers)
    scores = names | _score_names(next(made for made in node.output if made in names), makers)
    return Ending(
        kind=kind,
        axis=_row_axis(node) if is_same and kind == "softmax" else None,
        is_softmax=node.op_type == "Softmax",
        scores=frozenset(scores),
    )


def _row_axis(node: NodeProto) -> int | None:
    """Return the axis of shares in a row's shape; None for that of the rows, which is the first from the front."""
    axis = int(_attribute(node, "axis", -1)) if node.op_type == "Softmax" else -1
    if axis > 0:
        return axis - 1
    return axis or None


def _walk_back(name: str, makers: Mapping[str, NodeProto]) -> tuple[NodeProto | None, set[str], bool]:
    """Return the first operator before `name` that computes something, the tensors between, and if no shape changes."""
    names, is_same = {name}, True
    node = makers.get(name)
    while node is not None and node.input and (node.op_type in _TRANSPARENT or _names_a_choice(node)):
        is_same &= node.op_type in _SAME_VALUES
        name = node.input[1] if node.op_type in ("Gather", "ArrayFeatureExtractor") else node.input[0]
        names.add(name)
        node = makers.get(name)
    return node, names, is_same


def _kind(node: NodeProto, makers: Mapping[str, NodeProto]) -> str:
    if node.op_type == "Softmax":
        return "softmax"
    if node.op_type == "Normalizer":  # ai.onnx.ml's; by its sum (L1) it makes probabilities
        return "normalised" if _attribute(node, "norm", b"MAX") == b"L2" else "softmax"
    if node.op_type in _CLASSIFIERS:
        makes_shares = _attribute(node, "post_transform", b"NONE") in (b"SOFTMAX", b"LOGISTIC")
        return "softmax" if makes_shares or node.op_type == "TreeEnsembleClassifier" else "other"
    if node.op_type == "LpNormalization" or (node.op_type == "Div" and _is_norm(node.input[1], makers)):
        return "normalised"
    return "other"


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((item.s or item.i for item in node.attribute if item.name == name), default)


def _names_a_choice(node: NodeProto) -> bool:
    return node.op_type in _NAMING and (node.op_type == "LabelEncoder" or len(node.input) == 2)


def _is_choice(node: NodeProto, names: set[str]) -> bool:
    """Return whether the indexes or labels that `node` chooses were followed, and not its values."""
    place = {"ArgMax": 0, "TopK": 1, **dict.fromkeys(_CLASSIFIERS, 0)}.get(node.op_type, len(node.output))
    return place < len(node.output) and node.output[place] in names


def _score_names(name: str, makers: Mapping[str, NodeProto]) -> frozenset[str]:
    """Return the tensors between `name` and the scores behind it that are in the same order."""
    names = {name}
    node = makers.get(name)
    while node is not None and (node.op_type in _TRANSPARENT or node.op_type in _MONOTONE) and node.input:
        name = node.input[0]
        names.add(name)
        node = makers.get(name)
    return frozenset(names)


def _is_quantising(node: NodeProto) -> bool:
    is_fused = node.domain == "com.microsoft" and node.op_type.startswith("QLinear")
    return is_fused or node.op_type in _QUANTISING


def _reached_from(graph: GraphProto, is_source: Callable[[NodeProto], bool]) -> set[str]:
    """Return the tensors that follow from the rows through such an operator; the graph is in topological order."""
    live = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    reached: set[str] = set()
    for node in graph.node:
        if not any(name in live for name in node.input):
            continue
        live.update(node.output)
        if is_source(node) or any(name in reached for name in node.input):
            reached.update(node.output)
    return reached


def _detection_options(
    name: str, makers: Mapping[str, NodeProto], constants: Mapping[str, TensorProto]
) -> dict[str, Any]:
    """Return what the graph gives away: its thresholds, the form of its boxes, the order of score and class."""
    suppression = next(node for node in makers.values() if node.op_type == "NonMaxSuppression")
    is_centre = any(item.name == "center_point_box" and item.i == 1 for item in suppression.attribute)
    box = "cx cy w h" if is_centre else "x1 y1 x2 y2"
    options: dict[str, Any] = {"columns": f"{box} {_last_columns(name, makers)}"}
    for place, option in ((3, "iou_threshold"), (4, "score_threshold")):
        value = _constant(suppression.input[place] if len(suppression.input) > place else "", makers, constants)
        if value is not None and 0 <= value <= 1:
            options[option] = value
    return options


def _last_columns(name: str, makers: Mapping[str, NodeProto]) -> str:
    """Return the order of score and class; classes are whole numbers, so they are cast before they are joined."""
    node = makers.get(name)
    for _ in range(_NORM_DEPTH_MAX):
        if node is None or node.op_type == "Concat" or not node.input:
            break
        node = makers.get(node.input[0])
    if node is not None and node.op_type == "Concat" and len(node.input) >= 3:
        operators = [makers[part].op_type if part in makers else "" for part in node.input[-2:]]
        if operators[0] == "Cast" and operators[1] != "Cast":
            return "class score"
    return "score class"


def _constant(name: str, makers: Mapping[str, NodeProto], constants: Mapping[str, TensorProto]) -> float | None:
    tensor = constants.get(name)
    if tensor is None and name in makers and makers[name].op_type == "Constant":
        tensor = next((item.t for item in makers[name].attribute if item.name == "value"), None)
    if tensor is None or max(tensor.dims, default=1) != 1:
        return None
    value = float(numpy_helper.to_array(tensor).ravel()[0])
    return round(value, 6)


def _is_norm(name: str, makers: Mapping[str, NodeProto]) -> bool:
    return any(node.op_type in ("ReduceL2", "ReduceL1", "Sqrt") for node in _through_guards(name, makers))


def _through_guards(name: str, makers: Mapping[str, NodeProto]) -> Iterator[NodeProto]:
    """Yield the makers of `name`, looking through what exporters put around a norm (a floor, an epsilon, a reshape)."""
    for _ in range(_NORM_DEPTH_MAX):
        node = makers.get(name)
        if node is None:
            return
        yield node
        if node.op_type not in _NORM_GUARDS:
            return
        made = [part for part in node.input if part in makers and makers[part].op_type != "Constant"]
        if not made:
            return
        name = made[0]
