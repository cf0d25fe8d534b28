"""What integration tests, the demo, the fault kit and the benchmark share: certificates, a running server, clients."""
