"""Which operators are admitted, and how a refusal names one."""

from __future__ import annotations

from collections.abc import Iterator

import onnx.defs
from onnx import GraphProto, NodeProto

from workunits.sandbox.report import Problem

# What onnxruntime's own optimiser and quantiser write. EPContext (code for an accelerator) is deliberately not here.
MICROSOFT_OPERATORS = frozenset(
    {
        "Attention",
        "BiasGelu",
        "EmbedLayerNormalization",
        "FastGelu",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "Gelu",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MultiHeadAttention",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QuickGelu",
        "RotaryEmbedding",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
)
ALLOWED_DOMAINS = frozenset({"", "ai.onnx.ml", "com.microsoft"})
_UNBOUNDED = frozenset({"Loop", "Scan", "SequenceMap"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
# They take their scale from whatever rows share a batch, and from the last bits of what they are given.
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})


def canonical_domain(domain: str) -> str:
    """Return the domain with the default one's two spellings made one."""
    return "" if domain == "ai.onnx" else domain


def name_of(node: NodeProto) -> str:
    """Name a node as a person finds it in a viewer: its name, or else what it makes, and its operator."""
    label = node.name or next((f"-> {output}" for output in node.output if output), "unnamed")
    domain = canonical_domain(node.domain)
    return f"node {label} ({domain + '.' if domain else ''}{node.op_type})"


def check_nodes(graph: GraphProto, opsets: dict[str, int]) -> Iterator[Problem]:
    """Yield a problem for each node that is not admitted."""
    for node in graph.node:
        problem = _problem_of(node, opsets)
        if problem is not None:
            code, detail = problem
            version = opsets.get(canonical_domain(node.domain))
            yield Problem(code=code, where=f"{name_of(node)}, opset {version}", detail=detail)
    yield from _check_scales(graph)


def _check_scales(graph: GraphProto) -> Iterator[Problem]:
    """Yield a problem for each quantisation whose scale follows from the rows: that is a dynamic one by hand."""
    live = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and any(name in live for name in node.input[1:]):
            yield Problem(code="dynamic_quantisation", where=name_of(node), detail=_dynamic_detail(node.op_type))
        if any(name in live for name in node.input):
            live.update(node.output)


def _dynamic_detail(op_type: str) -> str:
    return (
        f"{op_type} takes its scale from the rows of a batch, so honest cars could not agree on any of them;"
        " quantise with fixed scales (QuantizeLinear and DequantizeLinear with constants)."
    )


def _problem_of(node: NodeProto, opsets: dict[str, int]) -> tuple[str, str] | None:
    domain = canonical_domain(node.domain)
    if node.op_type == "EPContext":
        return "ep_context", "EPContext carries compiled code for one accelerator, which is not allowed."
    if domain not in ALLOWED_DOMAINS or domain not in opsets:
        return "domain_not_allowed", f"Operator {node.op_type} is of the domain {node.domain!r}, which is not allowed."
    unfit = _why_unfit(node, domain)
    if unfit is not None:
        return unfit
    if not _is_known(node.op_type, domain, opsets[domain]):
        return "unknown_operator", f"Operator {node.op_type} is unknown in opset {opsets[domain]}."
    return None


def _why_unfit(node: NodeProto, domain: str) -> tuple[str, str] | None:
    """Return why a node may run without end, or give every car something else."""
    if domain == "" and node.op_type in _UNBOUNDED:
        return "unbounded_operator", f"{node.op_type} can run without end, so it is not allowed; unroll it."
    if domain == "" and node.op_type in _RANDOM and not any(item.name == "seed" for item in node.attribute):
        return "random_without_seed", f"{node.op_type} has no seed: two cars would give different outputs."
    if node.op_type in _DYNAMIC:
        return "dynamic_quantisation", _dynamic_detail(node.op_type)
    return None


def _is_known(op_type: str, domain: str, version: int) -> bool:
    if domain == "com.microsoft":
        return op_type in MICROSOFT_OPERATORS
    try:
        return not onnx.defs.get_schema(op_type, version, domain).deprecated
    except onnx.defs.SchemaError:
        return False
