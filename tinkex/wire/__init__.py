"""The codecs of data whose size grows with the number of tokens: ``proto_codec`` and ``json_codec``."""
