"""The operated environment: scheduler, strategies, risk, paper broker, gate, load test."""
