"""Running the API as a service: limits, probes, metrics, traces, logs, and an orderly end."""
