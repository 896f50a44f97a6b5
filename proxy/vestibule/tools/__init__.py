"""What an admin needs while writing a definition: see its requests, write one from discovery, try it, probe it.

    expressions   which values an expression reads, and documents that it can read      PURE
    invention     a provider that answers whatever the definition reads                  PURE
    explaining    the real conversations against it, as steps on paper                   PURE
    derivation    a definition in the fewest lines, from a discovery document            PURE
    masking       what may be shown of a request and its reply                           PURE
    advice        what to change when something fails                                    PURE
    listener      one callback on a loopback address                                     I/O
    trial         a live login                                                           I/O
    probing       each configured provider, asked without logging in                     I/O

No request is built here: all of them come out of `provider.wire`, so that what is explained, tried and probed is what
the gateway sends.
"""
