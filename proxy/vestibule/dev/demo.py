"""A small MCP server to put behind the gate: it knows no OAuth, and believes the headers that the gate sets."""

from urllib.parse import unquote

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from starlette.applications import Starlette

_NOTES = ["Try the tool add_note: it needs the permission write."]


def demo_app() -> Starlette:
    """Streamable HTTP at /mcp."""
    server = MCPServer("vestibule-demo", log_level="WARNING")

    @server.tool()
    def list_notes() -> list[str]:
        """All notes."""
        return _NOTES

    @server.tool()
    def add_note(text: str) -> str:
        """Adds a note."""
        _NOTES.append(text)
        return f"There are {len(_NOTES)} notes now."

    @server.tool()
    def get_identity(ctx: Context) -> dict[str, str]:
        """Who the gate says is calling, as this backend received it."""
        request = ctx.request_context.request
        headers = request.headers if request is not None else {}
        found = {name: unquote(headers.get(name, "")) for name in ("x-user-id", "x-user-email", "x-user-name")}
        return found | {"authorization": headers.get("authorization", "(none: the client's key stays at the gate)")}

    return server.streamable_http_app()
