"""PURE: our rules towards identity providers. No I/O, no clock: calls are values, conversations are generators.

How one login runs through this floor:

    YAML ──defaults.complete──► every default written out ──provider.compile_provider──► Provider, checked once
    wire.start      (discovery, PAR)       ► AuthorizeUrl              the browser leaves
    wire.read_callback                     ► CodeReturned | Denied     the browser is back
    wire.redeem     (token call, exchanges)                            ► TokensReceived
    wire.identify   (key set, id_token, identity calls, map)           ► Identified
    wire.refresh · wire.revoke · wire.api_headers · wire.api_query     the life of the connection afterwards

    definition  the keys and what they mean      template, expression, pattern  the three small languages in the values
    checking    types and names, at load         hosts, refused                 what no definition may do
    talk        what one conversation knows      calls, oidc, tokens, identity  the parts of conversations

A conversation yields `HttpCall`, is sent `HttpReply` or `HttpFailure`, and returns an event of `flow`. Whatever a
provider answers, it ends in an event; an answer that does not fit is `ProviderFailed` with exactly one kind.
"""
