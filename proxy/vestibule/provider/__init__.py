"""PURE: our rules towards identity providers. No I/O, no clock: calls are values, conversations are generators.

How one login runs through this floor:

    YAML ──definition.complete──► every default written out ──provider.compile_provider──► Provider, checked once
    wire.start      (discovery)            ► AuthorizeUrl              the browser leaves
    wire.read_callback                     ► CodeReturned | Denied     the browser is back
    wire.redeem     (token call)           ► TokensReceived
    wire.identify   (key set, id_token, identity calls, map)           ► Identified
    wire.refresh · wire.revoke · wire.api_headers                      the life of the connection afterwards

A conversation yields `HttpCall`, is sent `HttpReply` or `HttpFailure`, and returns an event of `flow`. Whatever a
provider answers, it ends in an event; an answer that does not fit is `ProviderFailed` with exactly one kind.
"""
