"""Static checks of the graph, before any runtime sees it: what is in it, how deep, how large, from where."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from workunits.sandbox import operators, sizes
from workunits.sandbox.report import AdmissionLimits, Problem, Refused, refuse


def parse(model_bytes: bytes) -> ModelProto:
    """Read the protobuf; raises Refused when the bytes are not an ONNX model with a graph."""
    model = ModelProto()
    try:
        model.ParseFromString(model_bytes)
    except DecodeError as error:
        raise refuse("not_an_onnx_model", "", f"The file is not a readable ONNX protobuf: {error}.") from None
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise refuse("not_an_onnx_model", "", "The file holds no ONNX graph with operators and an opset.")
    return model


def check(model: ModelProto, model_bytes: bytes, limits: AdmissionLimits) -> None:
    """Refuse a model that breaks a static rule, naming every node that does; then run onnx's own full check."""
    problems = [*_check_header(model, limits), *_check_size(model.graph, limits), *_check_names(model.graph, limits)]
    if problems:  # the checks below walk the graph and trust its depth, its opset and its names
        raise Refused(*problems)
    opsets = {operators.canonical_domain(entry.domain): entry.version for entry in model.opset_import}
    for graph, _ in walk_graphs(model.graph):
        problems += [*_check_tensors(graph, len(model_bytes)), *operators.check_nodes(graph, opsets)]
    if problems:
        raise Refused(*problems)
    problems = sizes.check_constant_sizes(model.graph, limits)
    if problems:
        raise Refused(*problems)
    try:
        onnx.checker.check_model(model_bytes, full_check=True)
    except Exception as error:  # noqa: BLE001  the checker raises several unrelated types, some of them bare
        raise refuse("invalid_model", "", f"onnx.checker refuses the model: {_one_line(error)}") from None


def walk_graphs(graph: GraphProto, level: int = 0) -> Iterator[tuple[GraphProto, int]]:
    """Yield the graph and, depth first, every subgraph in its attributes with its level (0 is the main graph)."""
    yield graph, level
    for node in graph.node:
        for subgraph in _subgraphs(node):
            yield from walk_graphs(subgraph, level + 1)


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _check_header(model: ModelProto, limits: AdmissionLimits) -> Iterator[Problem]:
    if not limits.ir_version_min <= model.ir_version <= limits.ir_version_max:
        yield Problem(
            code="ir_version_unsupported",
            where=f"ir_version {model.ir_version}",
            detail=f"IR version {model.ir_version} is outside {limits.ir_version_min} to {limits.ir_version_max}.",
        )
    # Some exporters import the default opset twice; that is harmless while both name one version.
    versions = {entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")}
    if len(versions) > 1:
        detail = f"The default opset is imported in several versions: {sorted(versions)}."
        yield Problem(code="invalid_model", where="opset_import", detail=detail)
    for version in versions:
        if not limits.opset_min <= version <= limits.opset_max:
            yield Problem(
                code="opset_too_new" if version > limits.opset_max else "opset_too_old",
                where=f"opset {version}",
                detail=f"Opset {version} is outside {limits.opset_min} to {limits.opset_max}.",
            )
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx") and not 1 <= entry.version <= limits.domain_version_max:
            yield Problem(
                code="opset_too_new" if entry.version > 0 else "opset_too_old",
                where=f"domain {entry.domain}",
                detail=f"Version {entry.version} of {entry.domain!r} is outside 1 to {limits.domain_version_max}.",
            )
        if operators.canonical_domain(entry.domain) not in operators.ALLOWED_DOMAINS:
            yield Problem(
                code="domain_not_allowed",
                where=f"domain {entry.domain}",
                detail=f"Operators of the domain {entry.domain!r} are not allowed.",
            )
    for function in model.functions:
        yield Problem(
            code="custom_function", where=function.name, detail=f"Custom function {function.name!r} is not allowed."
        )


def _check_size(graph: GraphProto, limits: AdmissionLimits) -> Iterator[Problem]:
    nodes = 0
    for subgraph, level in walk_graphs(graph):
        nodes += len(subgraph.node)
        if level > limits.subgraph_levels_max:
            yield Problem(
                code="nested_too_deeply",
                where=f"graph {subgraph.name}",
                detail=f"Subgraphs are nested more than {limits.subgraph_levels_max} levels deep.",
            )
            return
    if nodes > limits.nodes_max:
        yield Problem(code="too_many_nodes", where="", detail=f"{nodes} nodes are more than {limits.nodes_max}.")


def _check_names(graph: GraphProto, limits: AdmissionLimits) -> Iterator[Problem]:
    """Yield a problem for the first name that is no text (the parser hands it out as bytes) or has no end."""
    for subgraph, _ in walk_graphs(graph):
        for name in _names(subgraph):
            if not isinstance(name, str):
                yield Problem(code="invalid_model", where="", detail=f"The name {bytes(name)[:40]!r} is no UTF-8 text.")
                return
            if len(name) > limits.inner_name_chars_max:
                detail = f"The name {name[:40]!r}... has more than {limits.inner_name_chars_max} characters."
                yield Problem(code="name_too_long", where="", detail=detail)
                return


def _names(graph: GraphProto) -> Iterator[str | bytes]:
    yield graph.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        yield from (value.name for value in values)


def _check_tensors(graph: GraphProto, file_bytes: int) -> Iterator[Problem]:
    for where, tensor in _tensors(graph):
        if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
            yield Problem(
                code="external_data",
                where=where,
                detail=f"{where} keeps its data outside the file, which is not allowed.",
            )
        # Four-bit types pack two elements into a byte; nothing packs more than eight.
        elif sizes.element_count(tensor.dims) > 8 * file_bytes or min(tensor.dims, default=0) < 0:
            yield Problem(
                code="tensor_too_large",
                where=where,
                detail=f"{where} claims {list(tensor.dims)}: more than the file holds.",
            )
    if graph.sparse_initializer:
        yield Problem(code="sparse_tensor", where=f"graph {graph.name}", detail="Sparse tensors are not allowed.")
    for node in graph.node:
        if any(attribute.HasField("sparse_tensor") or attribute.sparse_tensors for attribute in node.attribute):
            yield Problem(code="sparse_tensor", where=operators.name_of(node), detail="Sparse tensors are not allowed.")


def _tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    for tensor in graph.initializer:
        yield f"initializer {tensor.name}", tensor
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield f"{operators.name_of(node)}, attribute {attribute.name}", attribute.t
            for tensor in attribute.tensors:
                yield f"{operators.name_of(node)}, attribute {attribute.name}", tensor


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
