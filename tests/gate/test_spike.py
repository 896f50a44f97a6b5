async def test_spike(gate, backend, logged):
    key = await gate.key("api")
    a = await gate.call("GET", "/api/x?y=1", key=key)
    print(a, backend.call.head, logged)
    for _ in range(3):
        a = await gate.call("GET", "/api/x?y=1", key=key)
    print({c.peer for c in backend.calls}); print(logged[1:])
    assert 0
