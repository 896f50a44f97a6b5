"""Who may do what: the one chokepoint, pure and compiled when the config loads.

    routes       which route a raw path belongs to, and which paths are too ambiguous to belong anywhere
    mcp          what an MCP request asks for, read strictly out of its body
    permissions  whether the permissions of a key cover a request
    rules        whether a principal may use a route at all

Everything here fails closed: what no rule, permission or grammar names is refused. Nothing is negative ("all but"), so
a request that is spelt differently can only lose access, never gain it.
"""
