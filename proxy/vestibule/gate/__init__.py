"""The data plane: plain ASGI, outside Litestar. A request is matched, admitted, judged and forwarded, or refused."""
