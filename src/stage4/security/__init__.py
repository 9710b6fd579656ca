"""Certificates and chains, mTLS credentials, tokens and scopes, rotations, people and their signatures."""
