"""Vestibule stands between clients and the APIs that you already have.

Glossary
    provider    an upstream identity provider, described by a YAML definition
    backend     a protected API or MCP server
    client      an OAuth client, MCP clients above all
    resource    the RFC 8707 identifier of a gated route: its public URL
    grant       what one user allowed one client on one route; each authorization adds a *family* of keys to it
    connection  the provider's tokens for one user and one scope set
    key         only in compounds: api_key, access_token, refresh_token, signing_key, sealing_key

Floors, top to bottom; imports point down only, import-linter holds it
    cli, dev, tools             commands; a gateway with everything built in; explaining, trying and probing providers
    app                         composition root: builds everything once from the config
    web, gate                   the doors: control plane (Litestar) and data plane (plain ASGI)
    service                     load, decide, save, act: joins the floors below, which do not know each other
    oauth, provider, policy     pure rules towards clients, towards providers, about who may do what
    storage, outbound           the database; the only sender of control-plane HTTP
    crypto                      digests, JOSE, sealing; the only randomness
    config, catalog, documents  the YAML files
    model, errors               values and refusals shared by all

Reading order for a newcomer: model, provider/flow, service/logins, oauth/authorize, gate/dispatcher, app.
"""
