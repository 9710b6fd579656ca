"""The gRPC contract (`metrics.proto`) and the code that grpcio-tools makes of it."""
