#!/usr/bin/env python3
"""What OpenTelemetry's own classes (PyPI's opentelemetry-proto) make of a request's body: run by the Python that has them. Prints JSON:
{"resource": {name: value}, "scope": ..., "metrics": {name: {"type", "unit", "help", "points": [...]}}}. A body that these classes know only
in part is an error."""
import json
import sys

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE


def attributes(pairs):
    found = {pair.key: pair.value.string_value for pair in pairs}
    assert len(found) == len(pairs) and all(pair.value.WhichOneof("value") == "string_value" for pair in pairs), pairs
    return found


def number(point):
    kind = point.WhichOneof("value")
    assert kind in ("as_int", "as_double"), point
    return {"start": point.start_time_unix_nano, "time": point.time_unix_nano, "value": getattr(point, kind), "integer": kind == "as_int",
            "labels": attributes(point.attributes)}


def histogram(point):
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1 and sum(point.bucket_counts) == point.count, point
    return {"start": point.start_time_unix_nano, "time": point.time_unix_nano, "count": point.count, "sum": point.sum,
            "buckets": list(point.bucket_counts), "bounds": list(point.explicit_bounds), "labels": attributes(point.attributes)}


def metric(one):
    kind = one.WhichOneof("data")
    data = getattr(one, kind)
    if kind != "gauge":
        assert data.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE, one
    if kind == "sum":
        assert data.is_monotonic, one
    return {"type": kind, "unit": one.unit, "help": one.description, "points": [(histogram if kind == "histogram" else number)(p) for p in data.data_points]}


body = sys.stdin.buffer.read()
request = ExportMetricsServiceRequest.FromString(body)
assert len(request.SerializeToString()) == len(body), "it has parts that are none of the protocol's, or are written otherwise"
if not request.resource_metrics:
    print(json.dumps(None))
    sys.exit(0)
[resource] = request.resource_metrics
[scope] = resource.scope_metrics
metrics = {one.name: metric(one) for one in scope.metrics}
assert len(metrics) == len(scope.metrics), "a name is there twice"
print(json.dumps({"resource": attributes(resource.resource.attributes), "scope": [scope.scope.name, scope.scope.version], "metrics": metrics}))
