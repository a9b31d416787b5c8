"""Bytes to types and back, for what scales with tokens: ``proto_codec`` and ``json_codec``."""
