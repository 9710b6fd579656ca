"""Telemetry: the metric catalogue, the recorder, the Prometheus exporter, the gRPC service and its watch."""
