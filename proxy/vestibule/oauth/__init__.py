"""What an OAuth client may ask of us and what it is answered: pure rules, no I/O, `now` as an argument.

    params       query and form bodies, strictly            RFC 6749 §3, RFC 8707 §2
    uris         one strict URI reader for all of the below RFC 3986
    resources    which route a request is for               RFC 8707
    clients      redirect URIs, dynamic registration        RFC 8252, RFC 7591
    cimd         clients that are a URL                     Client ID Metadata Document draft
    authorize    the authorization request and its answer   RFC 6749 §4.1, RFC 7636, RFC 9207
    credentials  client authentication                      RFC 6749 §2.3
    grants       codes, refresh tokens, token responses     RFC 6749 §4.1.3, §5, §6
    metadata     discovery documents and challenges         RFC 8414, RFC 9728, RFC 6750

The order is the order in which a client meets them.
"""
